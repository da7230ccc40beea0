package worker

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// A resolution says which user a request is about, and what is to be done.
type resolution struct {
	outcome Outcome     // created, exists or linked
	user    *store.User // the one who was there; nil when created
	owner   bool        // the user becomes the tenant's owner
	unnamed bool        // the identity name derived from the address belongs to somebody else
}

// resolve applies the identity rules to a request and what the store has for it.
//
// The key of an external identity is (tenant, issuer, subject). An e-mail address never is; it may lead to a link only
//  1. for a user who was provisioned before the first login: no identity yet, made for a source of this kind or
//     of no kind in particular, and the login proves exactly that address; or
//  2. for a source configured to link by verified e-mail that names the domain among those it speaks for, when the
//     address is verified on both sides and the user is not the owner.
//
// Everything else that meets a taken address, or a taken name that the source chose, is a conflict, and nothing is
// written. A name that was only derived from the address gives way: nobody keeps a person out by taking it first.
func resolve(t *Tenant, src *Source, req *providers.CreateUser, d *draft, found store.Found) (resolution, *Rejection) {
	owner := d.emailVerified && t.OwnerKey != "" && d.email.Key == t.OwnerKey && sameMailbox(d.email.Given, t.Owner) && found.OwnerID == ""
	if req.Identity == nil {
		if found.ByEmail != nil {
			return resolution{}, repeated("email")
		}
		if found.ByIdentityName != nil && req.IdentityName != "" {
			return resolution{}, repeated(fieldNames(req.Shape).identityName)
		}
		return resolution{outcome: OutcomeCreated, owner: owner, unnamed: found.ByIdentityName != nil}, nil
	}
	if found.ByIdentity != nil {
		return resolution{outcome: OutcomeExists, user: found.ByIdentity}, nil
	}
	if u := found.ByEmail; u != nil {
		if sameMailbox(d.email.Given, u.Email) && (preProvisioned(req, d, u) || linksByEmail(src, d, u)) {
			return resolution{outcome: OutcomeLinked, user: u, owner: owner}, nil
		}
		return resolution{}, conflict("email")
	}
	if found.ByIdentityName != nil && req.IdentityName != "" {
		return resolution{}, conflict("identityName")
	}
	return resolution{outcome: OutcomeCreated, owner: owner, unnamed: found.ByIdentityName != nil}, nil
}

func preProvisioned(req *providers.CreateUser, d *draft, u *store.User) bool {
	return u.HasIdentity == 0 && (u.AuthProvider == req.AuthProvider || waitsForLogin(u)) && d.emailVerified
}

// waitsForLogin reports whether a user can log in by no means yet: one of the organization shape, which names no auth
// provider. It is kept as local without a password, and takes the auth provider of its first login.
func waitsForLogin(u *store.User) bool {
	return u.AuthProvider == "local" && u.PasswordHash == "" && u.HasIdentity == 0
}

func linksByEmail(src *Source, d *draft, u *store.User) bool {
	return src.LinkByEmail == "verified" && len(src.Domains) > 0 && d.emailVerified && u.EmailVerified && !u.IsOwner
}

// repeated is the answer to a command or feed that names a user who is there: nobody's fault, so no dead letter.
func repeated(field string) *Rejection {
	r := reject(CodeUserExists, "", "A user with this "+fieldWords(field)+" exists already.")
	r.Details["field"] = field
	r.DeadLetter = false
	return r
}

// conflict is the answer to a login whose address or name belongs to a user with another identity. Somebody has to
// look at it.
func conflict(field string) *Rejection {
	r := reject(CodeUserExists, "different_identity", "A user with this "+fieldWords(field)+" exists already and belongs to another identity.")
	r.Details["field"] = field
	r.Hint = "Find out whether both are one person. If so, correct the address at one side or let the source link by verified e-mail, then replay; if not, discard."
	return r
}

func fieldWords(field string) string {
	if field == "email" {
		return "e-mail address"
	}
	return "identity name"
}
