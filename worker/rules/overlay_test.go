package rules_test

import (
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
)

// What a batch has decided is found by the events behind it, as if it were stored; by a key that differs in one part it is not.
func TestABatchFindsWhatItHasDecided(t *testing.T) {
	t.Parallel()
	user := &store.User{
		ID: "u1", TenantID: "acme", CreatedBy: "hr", Email: "ada@acme.test", EmailKey: "ada@acme.test", EmailReserved: true,
		IdentityNameKey: "ada", NameSkeleton: "ada_", IsOwner: true,
	}
	own := &store.User{ID: "u2", TenantID: "acme", CreatedBy: "hr", EmailKey: "bob@acme.test", IdentityNameKey: "bob"}
	request := rules.Request{
		Source: &providers.Source{Name: "okta", Kind: "oidc"},
		Asked:  providers.CreateUser{Identity: &providers.Identity{Issuer: "https://issuer.test", Subject: "s1"}},
	}
	o := rules.NewOverlay()
	o.AddUser(user, &request)
	o.AddUser(own, &rules.Request{})
	o.AddUsed(&store.UsedID{TenantID: "acme", Source: "okta", ID: "jti", EventID: "e1"})
	row := &store.Event{TenantID: "acme", Source: "okta", EventID: "e1", Scope: "s"}
	o.AddEvent(row, "picture")

	all := store.Lookup{
		Tenant: "acme", Source: "okta", EventID: "e1", Scope: "s", UsedID: "jti", Issuer: "https://issuer.test", Subject: "s1",
		EmailKey: "ada@acme.test", IdentityNameKey: "ada", NameSkeleton: "ada_", Owner: true,
	}
	found := o.Over(all, store.Found{})
	if found.Event != row || found.Used == nil || found.ByIdentity != user || found.ByEmail != user || found.ByIdentityName != user || found.BySkeleton != user || found.OwnerID != "u1" {
		t.Errorf("of what the batch decided %+v is found, want its event, its used id, and its user by each key", found)
	}
	if found := o.Over(store.Lookup{Tenant: "acme", Source: "hr", OwnEmailKey: "bob@acme.test"}, store.Found{}); found.ByOwnEmail != own {
		t.Errorf("by the address that is not reserved %+v is found, want the user of its source", found.ByOwnEmail)
	}
	if p, ok := o.Picture(row.Key()); !ok || p != "picture" {
		t.Errorf("the picture of the row is %q, found: %v, want the one that was added", p, ok)
	}
	if !o.Touches("u1") || o.Touches("u3") {
		t.Errorf("the batch touches u1: %v, u3: %v, want true and false", o.Touches("u1"), o.Touches("u3"))
	}
	for name, change := range map[string]func(l *store.Lookup){
		"another tenant": func(l *store.Lookup) { l.Tenant = "globex" },
		"another source": func(l *store.Lookup) { l.Source, l.OwnEmailKey = "hr2", "bob@acme.test" },
		"another scope":  func(l *store.Lookup) { l.Scope = "" },
		"another event":  func(l *store.Lookup) { l.EventID = "e2" },
		"another id":     func(l *store.Lookup) { l.UsedID = "jti2" },
		"another issuer": func(l *store.Lookup) { l.Issuer = "https://issuer.test/" },
		"another sub":    func(l *store.Lookup) { l.Subject = "S1" },
		"another mail":   func(l *store.Lookup) { l.EmailKey = "ada@acme.test.evil" },
		"another name":   func(l *store.Lookup) { l.IdentityNameKey = "ada2" },
		"another look":   func(l *store.Lookup) { l.NameSkeleton = "bob_" },
		"not the owner":  func(l *store.Lookup) { l.Owner = false },
	} {
		near := all
		change(&near)
		before, after := count(found), count(o.Over(near, store.Found{}))
		if after >= before {
			t.Errorf("with %s %d things are found, want fewer than the %d of the exact lookup", name, after, before)
		}
	}
}

// count is how many of the things that a lookup can find are there.
func count(f store.Found) int {
	n := 0
	for _, there := range []bool{f.Event != nil, f.Used != nil, f.ByIdentity != nil, f.ByEmail != nil, f.ByOwnEmail != nil, f.ByIdentityName != nil, f.BySkeleton != nil, f.OwnerID != ""} {
		if there {
			n++
		}
	}
	return n
}
