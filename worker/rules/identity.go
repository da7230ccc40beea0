package rules

import (
	"cmp"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Resolution says which user a request is about, and what is to be done.
type Resolution struct {
	Outcome record.Outcome // created, exists, updated or linked
	User    *store.User    // the one who was there; nil when created
	Owner   bool           // the user becomes the tenant's owner
	Unnamed bool           // the identity name derived from the address is another user's, or looks like it
}

// resolve applies the identity rules to a request and what the store has for it.
//
// The key of an external identity is (tenant, issuer, subject), and it belongs to the trust anchor of the source that
// made it: its kind and issuer. A login from a source with another anchor never meets it. An e-mail address is no key; it
// may lead to a user who is there only when the login proves exactly that address, for a domain that the directory lets
// its source speak for, and the source could have granted every role that the user has; and then only
//  1. to a user who was provisioned before the first login: no identity yet, made for a source of this kind or of no kind
//     in particular; or
//  2. with link_by_email, to one whose address is verified and who is not the owner.
//
// A user of an address that is not reserved is taken in the same way, while nobody has the address and no other user
// waits with it; but it keeps nobody out: a login that may not have that user gets one of its own.
//
// Everything else that meets a reserved address, or a name that another user has or that looks like it, is a conflict,
// and nothing is written. A name that was only derived from the address gives way.
func resolve(t *Tenant, src *providers.Source, req *providers.CreateUser, d *Draft, found store.Found) (Resolution, *record.Rejection) {
	if req.Identity == nil {
		return resolveProvisioned(req, found)
	}
	owner := becomesOwner(t, d, found)
	if u := found.ByIdentity; u != nil {
		if !anchors(src, found.Identity, req.Identity.Issuer) {
			return Resolution{}, differentSource(src, found.Identity.Kind)
		}
		if owner && u.EmailKey == t.OwnerKey && sameMailbox(t.Owner, u.Email) && (found.ByEmail == nil || found.ByEmail.ID == u.ID) {
			return Resolution{Outcome: record.OutcomeUpdated, User: u, Owner: true}, nil
		}
		return Resolution{Outcome: record.OutcomeExists, User: u}, nil
	}
	switch {
	case d.Refusal != nil:
		return Resolution{}, d.Refusal
	case !d.EmailVerified && src.UnverifiedEmail != providers.AcceptUnverified:
		return Resolution{}, unverifiedEmail(src, req, d)
	}
	if u := found.ByEmail; u != nil {
		if r := takes(t, src, req, d, u); r != nil {
			return Resolution{}, r
		}
		return Resolution{Outcome: record.OutcomeLinked, User: u, Owner: owner}, nil
	}
	if u := found.Waiting; u != nil && takes(t, src, req, d, u) == nil {
		return Resolution{Outcome: record.OutcomeLinked, User: u, Owner: owner}, nil
	}
	namesake := cmp.Or(found.ByIdentityName, found.BySkeleton)
	if namesake != nil && req.IdentityName != "" {
		return Resolution{}, conflict("identityName", found.ByIdentityName == nil)
	}
	return Resolution{Outcome: record.OutcomeCreated, Owner: owner, Unnamed: namesake != nil}, nil
}

// resolveProvisioned is resolve for a command or feed, which has no identity of its own and makes no owner.
func resolveProvisioned(req *providers.CreateUser, found store.Found) (Resolution, *record.Rejection) {
	if found.ByEmail != nil || found.ByOwnEmail != nil {
		return Resolution{}, repeated("email", false)
	}
	namesake := cmp.Or(found.ByIdentityName, found.BySkeleton)
	if namesake != nil && req.IdentityName != "" {
		return Resolution{}, repeated(fieldNames(req.Shape).identityName, found.ByIdentityName == nil)
	}
	return Resolution{Outcome: record.OutcomeCreated, Unnamed: namesake != nil}, nil
}

// anchors reports whether an identity under the issuer belongs to the trust anchor of the source. One whose kind is not
// known yet, as a worker of an earlier version writes it, belongs to it when this very source made it.
func anchors(s *providers.Source, id store.FoundIdentity, issuer string) bool {
	mine := id.Kind == string(s.Kind) || id.Kind == "" && id.Source == s.Name
	return mine && issuer == s.Issuer && issuer != ""
}

// becomesOwner reports whether a login proves the address that the directory names as the owner's, for a domain that its
// source speaks for, in a tenant that has no owner yet.
func becomesOwner(t *Tenant, d *Draft, found store.Found) bool {
	return d.EmailVerified && d.EmailReserved && t.OwnerKey != "" && d.Email.Key == t.OwnerKey && sameMailbox(d.Email.Given, t.Owner) && found.OwnerID == ""
}

// takes reports why a login may not have the user whose address it names; nil when it may.
func takes(t *Tenant, src *providers.Source, req *providers.CreateUser, d *Draft, u *store.User) *record.Rejection {
	provisioned := WaitsForLogin(u) && (u.AuthProvider == req.AuthProvider || u.AuthProvider == "local")
	linked := src.LinkByEmail == "verified" && u.EmailVerified && !u.IsOwner
	switch {
	case !provisioned && !linked && u.HasIdentity > 0:
		return conflict("email", false)
	case !provisioned && !linked:
		return keptApart("The user with this e-mail address does not log in through sources of this kind.",
			"The user's auth_provider is "+u.AuthProvider+"; decide whether the account is the same person's.")
	case !sameMailbox(d.Email.Given, u.Email):
		return keptApart("A user with an e-mail address that looks like this one exists already.", "Compare the two addresses letter by letter; correct one of them at its sender.")
	case !d.EmailVerified:
		return keptApart("A user with this e-mail address exists already, and the login does not prove the address"+because(req)+".",
			"Have the identity provider send a proof of the address (email_verified as the boolean true, or trust_email with domains), then replay.")
	case !d.EmailReserved:
		return keptApart("A user with this e-mail address exists already, and the source may not speak for addresses of "+d.Email.Domain+".",
			"List the domain under domains of source "+src.Name+" if it may, then replay.")
	}
	if missing := ungrantable(t, src, u); len(missing) > 0 {
		return keptApart("A user with this e-mail address exists already and has roles that the source cannot grant.",
			"The roles are "+someOf(missing)+". Add them to grants of source "+src.Name+" if its logins may have them, then replay.")
	}
	return nil
}

// ungrantable returns the names of the roles of the user that the source cannot grant, those too that are withdrawn: they
// return when they are declared again.
func ungrantable(t *Tenant, src *providers.Source, u *store.User) []string {
	var missing []string
	for _, name := range u.Roles {
		if !slices.Contains(src.Grants, name) {
			missing = append(missing, name)
		}
	}
	for _, o := range u.Organizations {
		role, ok := t.RolesByID[strings.ToLower(o.RoleID)]
		if !ok || !slices.Contains(src.Grants, role.Name) {
			missing = append(missing, cmp.Or(role.Name, o.RoleID))
		}
	}
	if u.Withdrawn {
		missing = append(missing, "some that the directory does not declare any more")
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// WaitsForLogin reports whether a user cannot log in yet: one without any identity, and without a password. A user of the
// organization shape, which names no auth provider, is kept as local and takes the auth provider of the first login.
func WaitsForLogin(u *store.User) bool {
	return u.HasIdentity == 0 && (u.AuthProvider != "local" || u.PasswordHash == "")
}

// repeated is the answer to a command or feed that names a user who is there. That is no error of anyone, so it makes no
// dead letter.
func repeated(field string, alike bool) *record.Rejection {
	r := record.Reject(record.CodeUserExists, "", taken(field, alike)+".")
	r.Details["field"] = field
	r.DeadLetter = false
	return r
}

// conflict is the answer to a login whose address or name belongs to a user with another identity. An operator has to
// look at it.
func conflict(field string, alike bool) *record.Rejection {
	r := record.Reject(record.CodeUserExists, "different_identity", taken(field, alike)+" and belongs to another identity.")
	r.Details["field"] = field
	r.Hint = "Find out whether both are one person. If so, correct the address at one side or let the source link by verified e-mail, then replay; if not, discard."
	return r
}

// keptApart is the answer to a login that may not have the user whose address it names.
func keptApart(message, hint string) *record.Rejection {
	r := record.Reject(record.CodeUserExists, "different_source", message)
	r.Details["field"] = "email"
	r.Hint = hint
	return r
}

// differentSource is the answer to a login whose identity belongs to a source of another kind, or to none that is known.
func differentSource(src *providers.Source, kind string) *record.Rejection {
	r := record.Reject(record.CodeUserExists, "different_source", "The identity belongs to another source than the one that this login came from.")
	r.Details["field"] = "identity"
	r.Hint = "Two sources of different kinds use one issuer name; find out who answers under it. Nothing was let in."
	if kind == "" {
		r.Hint = "The source of this identity is not known: run idpsync migrate, then idpsync identities list --unpinned; idpsync identities move gives it to source " + src.Name + "."
	}
	return r
}

// unverifiedEmail is the answer to a first login that does not prove its address.
func unverifiedEmail(src *providers.Source, req *providers.CreateUser, d *Draft) *record.Rejection {
	r := record.Reject(record.CodeUnverifiedEmail, "", "The login does not prove its e-mail address"+because(req)+", and its source accepts no others.")
	r.Hint = "Have the identity provider send a proof of the address (email_verified as the boolean true); or set trust_email and domains, or unverified_email: accept, on source " + src.Name + ". Then replay."
	if len(src.Domains) > 0 && !speaksFor(src, d.Email.Domain) {
		r.Hint = "The domain " + d.Email.Domain + " is not among the domains of source " + src.Name + "; add it, or set unverified_email: accept, then replay."
	}
	return r
}

// because says why an address is not proved, as far as the claims tell.
func because(req *providers.CreateUser) string {
	if req.EmailVerified || req.EmailUnproved == "" {
		return ""
	}
	return " (" + req.EmailUnproved + ")"
}

// taken says that a name or address is another user's, or looks like it.
func taken(field string, alike bool) string {
	switch {
	case field == "email":
		return "A user with this e-mail address exists already"
	case alike:
		return "A user with an identity name that looks like this one exists already"
	default:
		return "A user with this identity name exists already"
	}
}
