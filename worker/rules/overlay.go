package rules

import (
	"strings"

	"github.com/idpsync/idpsync/store"
)

// An Overlay is what a batch has decided so far, laid over what the database held before it.
type Overlay struct {
	events     map[store.EventKey]*store.Event
	used       map[string]*store.UsedID
	identities map[string]overlaidIdentity
	emails     map[string]*store.User // reserved ones
	ownEmails  map[string]*store.User // others, by the source that made the user
	waiting    map[string]bool        // addresses of those that are not reserved, of users who wait for a first login
	names      map[string]*store.User
	skeletons  map[string]*store.User
	owners     map[string]string
	touched    map[string]bool           // ids of users that the batch creates or changes
	pictures   map[store.EventKey]string // that the rows of events leave out
}

// An overlaidIdentity is an identity that the batch knows, with its user.
type overlaidIdentity struct {
	user *store.User
	is   store.FoundIdentity
}

// NewOverlay returns one of a batch that has decided nothing yet.
func NewOverlay() *Overlay {
	return &Overlay{
		events: map[store.EventKey]*store.Event{}, used: map[string]*store.UsedID{}, identities: map[string]overlaidIdentity{},
		emails: map[string]*store.User{}, ownEmails: map[string]*store.User{}, waiting: map[string]bool{}, names: map[string]*store.User{}, skeletons: map[string]*store.User{},
		owners: map[string]string{}, touched: map[string]bool{}, pictures: map[store.EventKey]string{},
	}
}

func joinKey(parts ...string) string { return strings.Join(parts, "\x00") }

// Over returns found with what the batch itself has added.
func (o *Overlay) Over(l store.Lookup, found store.Found) store.Found {
	if row := o.events[store.EventKey{TenantID: l.Tenant, Source: l.Source, EventID: l.EventID, Scope: l.Scope}]; row != nil {
		found.Event = row
	}
	if l.UsedID != "" {
		if u := o.used[joinKey(l.Tenant, l.Source, l.UsedID)]; u != nil {
			found.Used = u
		}
	}
	if l.Subject != "" {
		if id := o.identities[joinKey(l.Tenant, l.Issuer, l.Subject)]; id.user != nil {
			found.ByIdentity, found.Identity = id.user, id.is
		}
	}
	for _, look := range []struct {
		in    map[string]*store.User
		key   []string
		found **store.User
	}{
		{o.emails, []string{l.Tenant, l.EmailKey}, &found.ByEmail},
		{o.ownEmails, []string{l.Tenant, l.Source, l.OwnEmailKey}, &found.ByOwnEmail},
		{o.names, []string{l.Tenant, l.IdentityNameKey}, &found.ByIdentityName},
		{o.skeletons, []string{l.Tenant, l.NameSkeleton}, &found.BySkeleton},
	} {
		if look.key[len(look.key)-1] == "" {
			continue
		}
		if u := look.in[joinKey(look.key...)]; u != nil {
			*look.found = u
		}
	}
	if id := o.owners[l.Tenant]; id != "" && l.Owner {
		found.OwnerID = id
	}
	return found
}

// AddUser notes a user that the batch creates or changes for a request.
func (o *Overlay) AddUser(u *store.User, r *Request) {
	if id := r.Asked.Identity; id != nil {
		o.identities[joinKey(u.TenantID, id.Issuer, id.Subject)] = overlaidIdentity{u, store.FoundIdentity{Kind: string(r.Source.Kind), Source: r.Source.Name}}
	}
	o.touched[u.ID] = true
	if u.EmailReserved {
		o.emails[joinKey(u.TenantID, u.EmailKey)] = u
	} else {
		o.ownEmails[joinKey(u.TenantID, u.CreatedBy, u.EmailKey)] = u
		if WaitsForLogin(u) {
			o.waiting[joinKey(u.TenantID, u.EmailKey)] = true
		}
	}
	o.names[joinKey(u.TenantID, u.IdentityNameKey)] = u
	if u.NameSkeleton != "" {
		o.skeletons[joinKey(u.TenantID, u.NameSkeleton)] = u
	}
	if u.IsOwner {
		o.owners[u.TenantID] = u.ID
	}
}

// AddEvent notes the row of an event. Picture is what the row leaves out, and that may not be stored yet; "" for none.
func (o *Overlay) AddEvent(row *store.Event, picture string) {
	o.events[row.Key()] = row
	if picture != "" {
		o.pictures[row.Key()] = picture
	}
}

// AddUsed notes an id that the batch uses up.
func (o *Overlay) AddUsed(u *store.UsedID) { o.used[joinKey(u.TenantID, u.Source, u.ID)] = u }

// Waits reports whether the batch creates a user with this address who waits for a first login.
func (o *Overlay) Waits(tenant, emailKey string) bool { return o.waiting[joinKey(tenant, emailKey)] }

// Touches reports whether the batch creates or changes a user.
func (o *Overlay) Touches(userID string) bool { return o.touched[userID] }

// Picture returns the picture that the row of an event of the batch leaves out.
func (o *Overlay) Picture(of store.EventKey) (string, bool) {
	p, ok := o.pictures[of]
	return p, ok
}
