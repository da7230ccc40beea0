package worker

import (
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// The scope of an event id says whose it is, so that one sender can neither block nor read what another one sent under the
// same id. It is the name of a credential, which a renewal keeps, or source and subject of a JWT. Logins have none: the
// token is the event itself, and any sender may hand it in.
const (
	scopeCredential = "credential/"
	scopeToken      = "token/"
)

// scopeOf returns the scope of the event ids of a sender who proved to be p.
func scopeOf(shape providers.Shape, p *providers.Principal) string {
	switch {
	case shape == providers.ShapeLogin || p.Kind == "":
		return ""
	case p.Kind == providers.PrincipalCredential:
		return scopeCredential + p.Name
	default:
		return scopeToken + p.ID + "/" + p.Name
	}
}

// scope is the scope of the event's id; "" until its sender is proved.
func (e *event) scope() string { return scopeOf(e.env.Shape, &e.request.Asked.Principal) }

// key is the key of the event in the ledger, once its sender is proved.
func (e *event) key() store.EventKey {
	return store.EventKey{TenantID: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Scope: e.scope()}
}

// credential is the public id of the credential that proved the event's sender, or "".
func (e *event) credential() string {
	if p := &e.request.Asked.Principal; p.Kind == providers.PrincipalCredential {
		return p.ID
	}
	return ""
}

// checkScope refuses an event id that makes no key together with the name of its sender.
func (e *event) checkScope() *record.Rejection {
	if len(record.EventName(e.key())) <= record.MaxEventName {
		return nil
	}
	r := record.Reject(record.CodeMalformed, "event_id", "The event id is too long together with the name of its sender's credential.")
	r.Hint = "Make a credential with a shorter name by idpsync credential create, and have the event sent again with it."
	return r
}

// broughtBy looks for what the very message of the event had for an effect. It can do so before the sender is proved.
func (e *event) broughtBy() store.Lookup {
	return store.Lookup{Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Origin: e.storedAs()}
}

// earlier returns the row of the ledger that the event had before, or nil.
//
// The message that brought a row brings it again, whatever has become of its credential. A row from before scopes is found
// under the event id alone, and belongs to the event only if the same sender made it.
func (e *event) earlier(found *store.Found) *store.Event {
	switch {
	case found.Brought != nil:
		return found.Brought
	case found.Event != nil:
		return found.Event
	case found.Unscoped != nil && e.sent(found.Unscoped):
		return found.Unscoped
	}
	return nil
}

// sent reports whether the sender of the event is the one who sent that of the row, which has no scope. Nothing tells who
// that was once the row's user was forgotten. Its answer is gone too, so that the same payload may find it: the user must
// not come back.
func (e *event) sent(row *store.Event) bool {
	asked, ok := record.RecordedRequest(row)
	if !ok {
		return slices.Equal(row.PayloadHash, e.hash[:])
	}
	return scopeOf(e.env.Shape, &asked.Principal) == e.scope()
}
