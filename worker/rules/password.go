package rules

import (
	"strings"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers"
)

// Lengths of a password, in characters. There is no rule of composition (NIST SP 800-63B section 5.1.1.2).
const (
	minPassword = 8
	maxPassword = 256
)

// sealedPrefix begins a password or hash that only this deployment's seal key opens.
const sealedPrefix = "sealed:"

// Passwords is how a deployment takes passwords.
type Passwords struct {
	Unseal  func(sealed string) ([]byte, error) // opens sealed passwords; nil: there is no key
	Durable bool                                // accept passwords in the clear in what the broker stores
	Weak    bool                                // accept imported hashes below the least cost
}

// check checks the password of a request and puts it into the draft: the plain one, still to be hashed, or the
// imported hash. In the tenant shape a local user needs exactly one of the two, and other users none. The organization
// shape has neither.
//
// What a broker would store must not hold a password in the clear, unless the worker is configured to accept it.
func (p Passwords) check(env *providers.Envelope, req *providers.CreateUser, d *Draft) []providers.Fault {
	plain, imported := req.Password, req.PasswordHash
	var faults []providers.Fault
	fault := func(field, code, message string) {
		faults = append(faults, providers.Fault{Field: field, Code: code, Message: message})
	}
	switch req.AuthProvider {
	case "local":
		if req.Shape != providers.ShapeTenant {
			return nil
		}
		switch {
		case plain == "" && imported == "":
			fault("password", "required", "A local user needs a password or a password_hash.")
		case plain != "" && imported != "":
			fault("password_hash", "not_allowed", "Send either password or password_hash.")
		}
	case "oidc", "saml":
		if plain != "" {
			fault("password", "not_allowed", "Only local users have a password.")
		}
		if imported != "" {
			fault("password_hash", "not_allowed", "Only local users have a password.")
		}
	default: // a fault of its own
		return nil
	}
	if len(faults) > 0 {
		return faults
	}
	if plain != "" && env.Door == providers.DoorStream && !p.Durable && !Sealed(plain) {
		fault("password", "not_allowed", "The broker stores this command, so its password must not be in the clear: seal it with idpsync seal, or send the command by HTTP or request-reply.")
		return faults
	}
	plain, err := p.unseal(plain)
	if err != nil {
		fault("password", "invalid", err.Error())
		return faults
	}
	imported, err = p.unseal(imported)
	if err != nil {
		fault("password_hash", "invalid", err.Error())
		return faults
	}
	if plain != "" {
		switch n := utf8.RuneCountInString(plain.Reveal()); {
		case !utf8.ValidString(plain.Reveal()):
			fault("password", "invalid", "The password is not valid UTF-8.")
		case n < minPassword:
			fault("password", "invalid", "The password is shorter than 8 characters.")
		case n > maxPassword:
			fault("password", "too_long", "The password is longer than 256 characters.")
		}
	}
	if imported != "" {
		err := checkPasswordHash(imported.Reveal())
		if err == nil && !p.Weak {
			err = checkHashStrength(imported.Reveal())
		}
		if err != nil {
			fault("password_hash", "invalid", "The password hash "+err.Error()+".")
		}
	}
	d.Password, d.PasswordHash = plain, imported.Reveal()
	return faults
}

// Sealed reports whether a password or hash is sealed.
func Sealed(s providers.Secret) bool { return strings.HasPrefix(s.Reveal(), sealedPrefix) }

// unsealError says why a sealed value could not be opened; it repeats nothing of the value.
type unsealError string

func (e unsealError) Error() string { return string(e) }

// unseal opens a sealed value and returns any other as it is.
func (p Passwords) unseal(s providers.Secret) (providers.Secret, error) {
	if !Sealed(s) {
		return s, nil
	}
	if p.Unseal == nil {
		return "", unsealError("The value is sealed, and this deployment has no seal key.")
	}
	opened, err := p.Unseal(s.Reveal())
	if err != nil || len(opened) == 0 {
		return "", unsealError("The sealed value cannot be opened; seal it again with the public key that idpsync seal uses here.")
	}
	return providers.Secret(opened), nil
}
