package rules

import "github.com/idpsync/idpsync/store"

// An Effect is one change that a request makes. Effects are data: the transaction writes them, and the events behind it in
// the same batch see them. The effects are [PutUser], [PatchUser], [Grant], [GrantInOrganization] and [Link].
type Effect interface {
	// AddTo adds the effect to what a transaction writes.
	AddTo(w *store.Write)
}

// The effects.
type (
	// PutUser creates a user.
	PutUser struct{ User *store.User }
	// PatchUser changes a user who is there; User is the user afterwards.
	PatchUser struct {
		User  *store.User
		Patch store.UserUpdate
	}
	// Grant gives a user a role of the tenant.
	Grant store.RoleGrant
	// GrantInOrganization gives a user a role in an organization.
	GrantInOrganization store.OrganizationGrant
	// Link gives a user an identity by which to log in.
	Link store.Identity
)

// AddTo implements [Effect].
func (e PutUser) AddTo(w *store.Write) { w.Users = append(w.Users, *e.User) }

// AddTo implements [Effect].
func (e PatchUser) AddTo(w *store.Write) { w.Updates = append(w.Updates, e.Patch) }

// AddTo implements [Effect].
func (e Grant) AddTo(w *store.Write) { w.RoleGrants = append(w.RoleGrants, store.RoleGrant(e)) }

// AddTo implements [Effect].
func (e GrantInOrganization) AddTo(w *store.Write) {
	w.OrganizationGrants = append(w.OrganizationGrants, store.OrganizationGrant(e))
}

// AddTo implements [Effect].
func (e Link) AddTo(w *store.Write) { w.Identities = append(w.Identities, store.Identity(e)) }
