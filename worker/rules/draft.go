package rules

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// Bounds of a request's fields. What is refused is listed in the answer, so that lists without bound would make answers
// that no broker stores.
const (
	maxText  = 256 // of a name, in characters
	maxList  = 200 // roles, and organizations
	maxFault = 100 // faults that are reported
)

// A Draft is a request whose data passed validation, in the forms in which it will be kept.
type Draft struct {
	Email         Email
	EmailVerified bool   // proved by a source that may prove addresses of this domain
	EmailReserved bool   // the address is this user's alone in the tenant (see speaksFor)
	IdentityName  string // "" when the user is to be named by id
	IdentityKey   string // canonical form of IdentityName
	NameSkeleton  string // what names that look like IdentityName share
	Name          string
	DisplayName   string
	FirstName     string
	LastName      string
	Avatar        string
	Password      providers.Secret // to be hashed
	PasswordHash  string

	Roles         []store.Role
	Organizations []OrganizationGrant
	Dropped       []string // role names that were asked for and left out, as the source is configured to

	// Refusal is why no user can be made of a login's claims. It is kept here, as it concerns a login only when no user has
	// its identity yet.
	Refusal *record.Rejection
}

// An OrganizationGrant is a role in an organization that a request asks for and that its caller may grant.
type OrganizationGrant struct {
	Organization store.Organization
	Role         store.Role
	Asked        providers.OrganizationRole // as the sender wrote it
}

// validate checks the data of a verified request and derives what the other shape of the API needs. It reports all
// faults at once, beside those that the provider found while reading.
//
// Derived fields: name from displayName, from first and last name, or from the address; displayName from name; first and
// last name from the name, split at its last space (a single word is both). The identityName is the address where that is
// proved, or named by who may name it, and is not the name of another user; else it is the user's id.
//
// What can be read of the request is in the draft although other fields are at fault.
func validate(src *providers.Source, req *providers.CreateUser) (Draft, []providers.Fault) {
	v := validation{faults: append([]providers.Fault(nil), req.Faults...)}
	fields := fieldNames(req.Shape)
	d := Draft{Avatar: req.Avatar}

	if req.EmailMissing != "" && !v.failed(fields.email) {
		v.fault(fields.email, "required", "There is no e-mail address: "+req.EmailMissing+".")
	}
	if v.present(fields.email, req.Email, true) {
		parsed, err := ParseEmail(req.Email)
		if err != nil {
			v.fault(fields.email, "invalid", "The e-mail address "+err.Error()+".")
		} else if err := checkScripts(localPart(norm.NFC.String(req.Email)), parsed.Domain); err != nil {
			v.fault(fields.email, "mixed_scripts", "The e-mail address "+err.Error()+".")
		}
		d.Email = parsed
	}
	d.EmailVerified = req.EmailVerified && provesDomain(src, d.Email.Domain)
	d.EmailReserved = reserves(src, req, &d)
	organization := req.Shape == providers.ShapeOrganization
	v.text(fields.name, req.Name, req.Shape == providers.ShapeTenant)
	v.text(fields.identityName, req.IdentityName, organization)
	v.identityName(fields.identityName, src, req, &d)
	v.text(fields.displayName, req.DisplayName, organization)
	v.text(fields.firstName, req.FirstName, organization)
	v.text(fields.lastName, req.LastName, organization)
	if organization && !v.failed(fields.organizations) && len(req.Organizations.Values) == 0 {
		v.fault(fields.organizations, "required", "At least one organization is required.")
	}
	v.list(fields.roles, len(req.Roles.Values))
	for i, name := range req.Roles.Values[:min(len(req.Roles.Values), maxList)] {
		if utf8.RuneCountInString(name) > maxText {
			v.fault(fields.roles+"["+strconv.Itoa(i)+"]", "too_long", "The name of the role is longer than 256 characters.")
		}
	}
	v.list(fields.organizations, len(req.Organizations.Values))
	for i, o := range req.Organizations.Values[:min(len(req.Organizations.Values), maxList)] {
		at := fields.organizations + "[" + strconv.Itoa(i) + "]."
		v.uuid(at+"organizationId", o.OrganizationID)
		v.uuid(at+"roleId", o.RoleID)
	}
	switch req.AuthProvider {
	case "local", "oidc", "saml":
	default:
		v.fault(fields.authProvider, "invalid", "The auth provider must be local, oidc or saml.")
	}
	if req.Avatar != "" {
		if err := checkAvatar(req.Avatar); err != nil {
			v.fault("avatar", "invalid", "The avatar "+err.Error()+".")
		}
	}
	d.Name = First(req.Name, req.DisplayName, strings.TrimSpace(req.FirstName+" "+req.LastName), req.Email)
	d.DisplayName = First(req.DisplayName, d.Name)
	if d.IdentityName != "" {
		d.IdentityKey = NameKey(d.IdentityName)
		d.NameSkeleton = NameSkeleton(d.IdentityName)
	}
	given, family := splitName(d.Name)
	d.FirstName, d.LastName = First(req.FirstName, given), First(req.LastName, family)
	return d, v.faults[:min(len(v.faults), maxFault)]
}

// provesDomain reports whether a proof of the source counts for addresses of the domain. That of an OIDC source with no
// domains counts for all; such a source speaks for none of them, see speaksFor.
func provesDomain(src *providers.Source, domain string) bool {
	return len(src.Domains) == 0 && src.Kind == providers.KindOIDC || speaksFor(src, domain)
}

// speaksFor reports whether the directory lets the source speak for addresses of the domain: only then may a proof of
// its lead to a user who is there already, make an owner, or reserve an address.
func speaksFor(src *providers.Source, domain string) bool {
	return slices.Contains(src.Domains, domain)
}

// reserves reports whether the request's address is its user's alone: one that a command names, or a feed that is
// trusted with its domain, or that a login proves for a domain of its source. Any other address may be the address of
// several users, so that a claim without proof keeps nobody out.
func reserves(src *providers.Source, req *providers.CreateUser, d *Draft) bool {
	if src.Kind == providers.KindCommand {
		return true
	}
	return req.EmailVerified && speaksFor(src, d.Email.Domain)
}

// identityName chooses the identity name and checks the one that the sender chose. A name in the form of an e-mail
// address says who reads it there, so it must be the user's own: proved by a login, or named by a command or a feed that
// is trusted with the address.
func (v *validation) identityName(field string, src *providers.Source, req *providers.CreateUser, d *Draft) {
	if req.IdentityName == "" {
		if d.EmailReserved {
			d.IdentityName = req.Email
		}
		return
	}
	if v.failed(field) {
		return
	}
	key := NameKey(req.IdentityName)
	switch {
	case strings.ContainsFunc(req.IdentityName, directing): // it is a key: two that differ by a mark would look the same
		v.fault(field, "invalid", "The identity name holds a control character or an invisible character.")
		return
	case len(key) > maxNameKey:
		v.fault(field, "too_long", "The identity name is too long in the form in which names are compared.")
		return
	case NameSkeleton(req.IdentityName) == "":
		v.fault(field, "invalid", "The identity name holds nothing that can be seen.")
		return
	}
	d.IdentityName = req.IdentityName
	if at := strings.IndexByte(key, '@'); at > 0 && at < len(key)-1 && !(d.EmailReserved && sameAddress(req.IdentityName, d.Email)) {
		v.fault(field, "not_own_address", "An identity name in the form of an e-mail address must be the user's own address, proved by the login or sent by a command or a feed that is trusted with it.")
	} else if err := checkScripts(norm.NFKC.String(req.IdentityName), ""); err != nil {
		v.fault(field, "mixed_scripts", "The identity name "+err.Error()+".")
	}
}

// maxNameKey bounds the canonical form of a name, in bytes: it is a unique key, and may be many times as long as the name.
const maxNameKey = 1024

// sameAddress reports whether a name is the address, in whatever form it is written.
func sameAddress(name string, email Email) bool {
	if NameKey(name) == NameKey(email.Given) {
		return true
	}
	parsed, err := ParseEmail(name)
	return err == nil && parsed.Key == email.Key && sameMailbox(name, email.Given)
}

type fieldSet struct {
	email, name, identityName, displayName, firstName, lastName, organizations, authProvider, roles string
}

// fieldNames returns the names under which a sender knows the fields.
func fieldNames(s providers.Shape) fieldSet {
	f := fieldSet{"email", "name", "identity_name", "display_name", "first_name", "last_name", "organizations", "auth_provider", "roles"}
	if s == providers.ShapeOrganization {
		f.identityName, f.displayName, f.firstName, f.lastName = "identityName", "displayName", "firstName", "lastName"
	}
	return f
}

type validation struct{ faults []providers.Fault }

func (v *validation) fault(field, code, message string) {
	v.faults = append(v.faults, providers.Fault{Field: field, Code: code, Message: message})
}

// failed reports whether the field has a fault already, so that one mistake is not reported twice.
func (v *validation) failed(field string) bool {
	for _, f := range v.faults {
		if f.Field == field || strings.HasPrefix(f.Field, field+"[") {
			return true
		}
	}
	return false
}

// present reports whether there is a value worth checking: the API's pattern \S asks for a character that is no space.
func (v *validation) present(field, value string, required bool) bool {
	if v.failed(field) {
		return false
	}
	if strings.IndexFunc(value, func(r rune) bool { return !unicode.IsSpace(r) }) >= 0 {
		return true
	}
	if required || value != "" {
		v.fault(field, "required", "The field must hold at least one character that is not a space.")
	}
	return false
}

func (v *validation) text(field, value string, required bool) {
	if !v.present(field, value, required) {
		return
	}
	if !utf8.ValidString(value) {
		v.fault(field, "invalid", "The field is not valid UTF-8.")
		return
	}
	if utf8.RuneCountInString(value) > maxText {
		v.fault(field, "too_long", "The field is longer than 256 characters.")
		return
	}
	for _, r := range value {
		if disguising(r) && !directing(r) {
			v.fault(field, "invalid", "The field holds a control character or an invisible character.")
			return
		}
	}
	switch {
	case !visible(value):
		v.fault(field, "required", "The field must hold at least one character that can be seen.")
	case !closed(value):
		v.fault(field, "invalid", "The field begins or ends a run of text in another direction without its other end.")
	}
}

func (v *validation) list(field string, n int) {
	if n > maxList {
		v.fault(field, "too_long", "The list has more than "+strconv.Itoa(maxList)+" entries.")
	}
}

func (v *validation) uuid(field, value string) {
	if _, ok := providers.ParseUUID(value); !ok && !v.failed(field) {
		v.fault(field, "invalid", "The field must be a UUID of 36 characters.")
	}
}

// disguising reports whether r makes a name look like another one: controls, bidirectional overrides and embeddings, and
// invisible spaces. The joiners U+200C and U+200D are part of names in several scripts and stay.
func disguising(r rune) bool {
	switch r {
	case '\u200c', '\u200d':
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) || r == '\u2028' || r == '\u2029'
}

// directing reports whether r tells only where text that is written from right to left begins and ends: the marks U+200E,
// U+200F and U+061C, and the isolates U+2066 to U+2069. They are no part of a name, and what phones and keyboards put
// around one; unlike overrides they turn no letters round. An isolate has to end, lest what follows the name be drawn
// into it.
func directing(r rune) bool {
	return r == '\u200e' || r == '\u200f' || r == '\u061c' || isolating(r) || r == popIsolate
}

const popIsolate = '\u2069'

func isolating(r rune) bool { return r >= '\u2066' && r <= '\u2068' }

// closed reports whether each isolate of the text ends in it.
func closed(s string) bool {
	depth := 0
	for _, r := range s {
		switch {
		case isolating(r):
			depth++
		case r == popIsolate:
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

// visible reports whether anything of a name can be seen.
func visible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsSpace(r) && !directing(r) }) >= 0
}

func First(values ...string) string {
	for _, s := range values {
		if strings.TrimSpace(s) != "" {
			return s
		}
	}
	return ""
}

func splitName(name string) (given, family string) {
	name = strings.TrimSpace(name)
	i := strings.LastIndexFunc(name, unicode.IsSpace)
	if i < 0 {
		return name, name
	}
	given, family = strings.TrimSpace(name[:i]), strings.TrimSpace(name[i:])
	if !closed(given) || !closed(family) { // the name was split within an isolate
		given, family = undirected(given), undirected(family)
	}
	return given, family
}

// undirected is the text without marks of direction.
func undirected(s string) string {
	return strings.Map(func(r rune) rune {
		if directing(r) {
			return -1
		}
		return r
	}, s)
}
