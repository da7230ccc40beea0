package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// race runs fn in that many batches at once and returns what each of them failed with.
func race(t *testing.T, s *store.Store, writers int, fn func(ctx context.Context, tx *store.Tx, writer int) error) []error {
	t.Helper()
	errs := make([]error, writers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			<-start
			errs[i] = s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error { return fn(ctx, tx, i) })
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func TestConcurrentWritersOfOneKeyYieldOne(t *testing.T) {
	t.Parallel()
	const writers, rounds = 6, 5
	// Each case leaves its writers with one key in common.
	cases := map[string]struct {
		lookup func(u store.User, d store.Identity, e store.Event) store.Lookup
		found  func(store.Found) bool
		common func(first store.User, u *store.User, d *store.Identity, e *store.Event)
	}{
		"identity": {
			func(u store.User, d store.Identity, _ store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, Issuer: d.Issuer, Subject: d.Subject}
			},
			func(f store.Found) bool { return f.ByIdentity != nil },
			func(first store.User, _ *store.User, d *store.Identity, _ *store.Event) { d.Subject = first.ID },
		},
		"e-mail": {
			func(u store.User, _ store.Identity, _ store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, EmailKey: u.EmailKey}
			},
			func(f store.Found) bool { return f.ByEmail != nil },
			func(first store.User, u *store.User, _ *store.Identity, _ *store.Event) { u.EmailKey = first.EmailKey },
		},
		"identity name": {
			func(u store.User, _ store.Identity, _ store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, IdentityNameKey: u.IdentityNameKey}
			},
			func(f store.Found) bool { return f.ByIdentityName != nil },
			func(first store.User, u *store.User, _ *store.Identity, _ *store.Event) {
				u.IdentityNameKey = first.IdentityNameKey
			},
		},
		"skeleton of the identity name": {
			func(u store.User, _ store.Identity, _ store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, NameSkeleton: u.NameSkeleton}
			},
			func(f store.Found) bool { return f.BySkeleton != nil },
			func(first store.User, u *store.User, _ *store.Identity, _ *store.Event) {
				u.NameSkeleton = first.NameSkeleton
			},
		},
		"event": {
			func(u store.User, _ store.Identity, e store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, Source: e.Source, EventID: e.EventID}
			},
			func(f store.Found) bool { return f.Event != nil },
			func(first store.User, _ *store.User, _ *store.Identity, e *store.Event) { e.EventID = first.ID },
		},
		"owner": {
			func(u store.User, _ store.Identity, _ store.Event) store.Lookup {
				return store.Lookup{Tenant: u.TenantID, Owner: true}
			},
			func(f store.Found) bool { return f.OwnerID != "" },
			func(first store.User, u *store.User, _ *store.Identity, _ *store.Event) { u.IsOwner = true },
		},
	}
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		for name, c := range cases {
			s := open()
			t.Run(name, func(t *testing.T) {
				storetest.Seed(t, s)
				for round := range rounds {
					if name == "owner" && round > 0 {
						break // a tenant has one for good
					}
					first := storetest.User(storetest.Acme, round*100)
					wrote := make([]bool, writers)
					errs := race(t, s, writers, func(ctx context.Context, tx *store.Tx, i int) error {
						u := storetest.User(storetest.Acme, round*100+i+1)
						d := storetest.Identity(u, u.ID)
						e := storetest.Event(u, u.ID)
						c.common(first, &u, &d, &e)
						wrote[i] = false
						found, err := tx.Find(ctx, []store.Lookup{c.lookup(u, d, e)})
						if err != nil || c.found(found[0]) {
							return err
						}
						wrote[i] = true
						return tx.Write(ctx, store.Write{Users: []store.User{u}, Identities: []store.Identity{d}, Events: []store.Event{e}})
					})
					if err := errors.Join(errs...); err != nil {
						t.Fatal(err)
					}
					winners := 0
					for _, w := range wrote {
						if w {
							winners++
						}
					}
					counts, err := s.Counts(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if winners != 1 || counts.Users != int64(round+1) || counts.Identities != counts.Users || counts.Events != counts.Users {
						t.Fatalf("round %d: got %d writers that won, %d users, %d identities and %d events, wanted 1 and %d of each", round, winners, counts.Users, counts.Identities, counts.Events, round+1)
					}
				}
			})
		}
	})
}

func TestASecondIdentityNeverTakesAPreProvisionedUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		mustWrite(t, s, store.Write{Users: []store.User{u}})
		linked := make([]bool, 6)
		errs := race(t, s, len(linked), func(ctx context.Context, tx *store.Tx, i int) error {
			found, err := tx.Find(ctx, []store.Lookup{{Tenant: u.TenantID, EmailKey: u.EmailKey}})
			linked[i] = err == nil && found[0].ByEmail.HasIdentity == 0
			if !linked[i] {
				return err
			}
			return tx.Write(ctx, store.Write{
				Identities: []store.Identity{storetest.Identity(u, fmt.Sprint("subject", i))},
				Updates:    []store.UserUpdate{{TenantID: u.TenantID, UserID: u.ID, Revision: found[0].ByEmail.Revision, UpdatedAt: storetest.Time}},
			})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		got, err := s.User(t.Context(), u.TenantID, u.ID)
		if err != nil || got.HasIdentity != 1 || got.Revision != 2 {
			t.Errorf("the user whom several would link: got %d identities, revision %d and the error %v, wanted 1 and 2; who linked: %v", got.HasIdentity, got.Revision, err, linked)
		}
		if err := write(t.Context(), s, store.Write{Identities: []store.Identity{storetest.Identity(u, "unguarded")}}); err == nil || errors.Is(err, store.ErrRaced) {
			t.Errorf("an identity without a guarded user: got the error %v, wanted one that is no race", err)
		}
	})
}

func TestATakenKeyWritesNothingAndIsRaced(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		old := storetest.Creates(0, 1)
		used := store.UsedID{TenantID: storetest.Acme, Source: "adfs", ID: "_1", EventID: "e", Until: storetest.Time}
		old.Identities = []store.Identity{storetest.Identity(old.Users[0], "taken")}
		old.UsedIDs = []store.UsedID{used}
		mustWrite(t, s, old)
		before, err := s.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cases := map[string]func(w *store.Write){
			"e-mail":        func(w *store.Write) { w.Users[3].EmailKey = old.Users[0].EmailKey },
			"identity name": func(w *store.Write) { w.Users[3].IdentityNameKey = old.Users[0].IdentityNameKey },
			"id":            func(w *store.Write) { w.Users[3].ID = old.Users[0].ID },
			"identity":      func(w *store.Write) { w.Identities = append(w.Identities, storetest.Identity(w.Users[3], "taken")) },
			"event":         func(w *store.Write) { w.Events[3].EventID = old.Events[0].EventID },
			"used id":       func(w *store.Write) { w.UsedIDs = append(w.UsedIDs, used) },
			"stale update": func(w *store.Write) {
				w.Updates = []store.UserUpdate{{TenantID: storetest.Acme, UserID: old.Users[0].ID, Revision: 7, UpdatedAt: storetest.Time}}
			},
			"two in one write": func(w *store.Write) { w.Users[3].EmailKey = w.Users[2].EmailKey },
		}
		for name, spoil := range cases {
			w := storetest.Creates(10, 5)
			spoil(&w)
			tries := 0
			err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				tries++
				err := tx.Write(ctx, w)
				if !errors.Is(err, store.ErrRaced) {
					t.Errorf("writing a taken %s: got the error %v, wanted a race that is lost", name, err)
				}
				return err
			})
			if !errors.Is(err, store.ErrRaced) || tries < 2 {
				t.Errorf("the batch of a taken %s: got %d tries and the error %v, wanted at least 2 and a race that is lost", name, tries, err)
			}
		}
		after, err := s.Counts(t.Context())
		equal(t, "error of Counts", err, nil)
		equal(t, "counts", after, before)
	})
}

func TestABadRowWritesNothingAndIsNamed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		nul, long := "a\x00b", strings.Repeat("x", 3000)
		cases := map[string]struct {
			spoil func(w *store.Write)
			want  string
		}{
			"NUL":       {func(w *store.Write) { w.Users[3].Name = nul }, "Users[3].Name"},
			"bad UTF-8": {func(w *store.Write) { w.Users[2].Email = "\xff" }, "Users[2].Email"},
			"id":        {func(w *store.Write) { w.Users[1].ID = "7" }, "Users[1].ID"},
			"long key":  {func(w *store.Write) { w.Events[4].EventID = long }, "Events[4].EventID"},
			"NUL in an update": {func(w *store.Write) {
				w.Updates = []store.UserUpdate{{TenantID: storetest.Acme, UserID: storetest.AcmeUser, Name: &nul}}
			}, "Updates[0].Name"},
			"long key with its scope": {func(w *store.Write) {
				w.Events[4].EventID, w.Events[4].Scope = long[:1000], long[:1000]
			}, "Events[4].EventID"},
			"policies": {func(w *store.Write) { w.Events[0].Policies = []string{nul} }, "Events[0].Policies"},
			"organization role": {func(w *store.Write) {
				w.OrganizationGrants = []store.OrganizationGrant{storetest.OrganizationGrant(w.Users[0], "x", storetest.AcmeViewer)}
			}, "OrganizationGrants[0].OrganizationID"},
		}
		for name, c := range cases {
			w := storetest.Creates(0, 5)
			c.spoil(&w)
			err := write(t.Context(), s, w)
			row, ok := errors.AsType[*store.RowError](err)
			if !errors.Is(err, store.ErrConstraint) || !ok || fmt.Sprintf("%s[%d].%s", row.Record, row.Index, row.Field) != c.want || strings.Contains(err.Error(), "\x00") {
				t.Errorf("a bad row, %s: got the error %v, wanted one that names %s without its value", name, err, c.want)
			}
		}
		lookup := store.Lookup{Tenant: storetest.Acme, EmailKey: nul}
		if _, err := s.Find(t.Context(), []store.Lookup{lookup}); !errors.Is(err, store.ErrConstraint) {
			t.Errorf("a lookup with a NUL: got the error %v, wanted that it is refused", err)
		}
		counts, err := s.Counts(t.Context())
		equal(t, "error of Counts", err, nil)
		equal(t, "counts", counts, store.Counts{Tenants: 2})
	})
}

func TestRowsCannotPointAcrossTenants(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		acme, globex := storetest.User(storetest.Acme, 1), storetest.User(storetest.Globex, 1)
		mustWrite(t, s, store.Write{Users: []store.User{acme, globex}}) // the same keys in two tenants are no conflict
		foreign := storetest.Identity(acme, "s")
		foreign.TenantID = storetest.Globex
		grant := storetest.Grant(acme, storetest.AcmeUser)
		grant.TenantID = storetest.Globex
		cases := map[string]store.Write{
			"role of another tenant":         {RoleGrants: []store.RoleGrant{storetest.Grant(acme, storetest.GlobexUser)}},
			"user of another tenant":         {RoleGrants: []store.RoleGrant{grant}},
			"organization of another tenant": {OrganizationGrants: []store.OrganizationGrant{storetest.OrganizationGrant(acme, storetest.GlobexOffice, storetest.AcmeViewer)}},
			"organization role of another":   {OrganizationGrants: []store.OrganizationGrant{storetest.OrganizationGrant(acme, storetest.AcmeSales, storetest.GlobexViewer)}},
			"unknown tenant":                 {Users: []store.User{storetest.User("4489e9ad-2ee2-8e00-8ec9-32d5f69181c0", 1)}},
			"identity": {
				Users:      []store.User{{ID: acme.ID, TenantID: "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"}},
				Identities: []store.Identity{{TenantID: "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0", UserID: acme.ID, Kind: "oidc", Issuer: "i", Subject: "s"}},
			},
		}
		for name, w := range cases {
			if err := write(t.Context(), s, w); !errors.Is(err, store.ErrConstraint) {
				t.Errorf("a row that points at a %s: got the error %v, wanted that it is refused", name, err)
			}
		}
		if err := write(t.Context(), s, store.Write{Identities: []store.Identity{foreign}}); err == nil {
			t.Error("an identity of another tenant's user: got no error, wanted that it is refused")
		}
		found := find(t, s, store.Lookup{Tenant: storetest.Globex, EmailKey: acme.EmailKey}, store.Lookup{Tenant: strings.ToUpper(storetest.Acme), EmailKey: acme.EmailKey})
		equal(t, "users by one e-mail", []string{found[0].ByEmail.ID, found[1].ByEmail.ID}, []string{globex.ID, acme.ID})
	})
}

func TestADryRunSeesItsWritesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		w := storetest.Creates(0, 10)
		err := s.DryRun(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Write(ctx, w); err != nil {
				return err
			}
			found, err := tx.Find(ctx, []store.Lookup{{Tenant: storetest.Acme, EmailKey: w.Users[3].EmailKey}})
			if err == nil && (found[0].ByEmail == nil || !slices.Equal(found[0].ByEmail.Roles, []string{"user"})) {
				t.Errorf("the user that a dry run wrote: got %+v, wanted one with the role user", found[0].ByEmail)
			}
			return err
		})
		equal(t, "error of the dry run", err, nil)
		counts, err := s.Counts(t.Context())
		equal(t, "error of Counts", err, nil)
		equal(t, "counts", counts, store.Counts{Tenants: 2})
		mustWrite(t, s, w)
	})
}

func TestADryRunWorksBesideAWorker(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := storetest.Migrated(t, kind)
			worker, operator := storetest.OpenOptions(t, o), storetest.OpenOptions(t, o)
			storetest.Seed(t, worker)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range 20 {
					if err := write(t.Context(), worker, storetest.Creates(i*10, 10)); err != nil {
						t.Errorf("batch %d of the worker: got the error %v, wanted none", i, err)
					}
				}
			})
			for i := range 20 {
				err := operator.DryRun(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					return tx.Write(ctx, storetest.Creates(1000+i*10, 10))
				})
				if err != nil {
					t.Errorf("dry run %d: got the error %v, wanted none", i, err)
				}
			}
			wg.Wait()
			counts, err := operator.Counts(t.Context())
			if err != nil || counts.Users != 200 {
				t.Errorf("what the worker wrote beside dry runs: got %d users and the error %v, wanted 200", counts.Users, err)
			}
		})
	}
}

func TestABatchThatFailsOrPanicsLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		mine := errors.New("mine")
		err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.Write(ctx, storetest.Creates(0, 3)), mine)
		})
		if !errors.Is(err, mine) {
			t.Errorf("a batch that fails: got the error %v, wanted the function's own", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_ = tx.Write(ctx, storetest.Creates(0, 3))
				panic("in a batch")
			})
		}()
		ctx, cancel := context.WithCancel(t.Context())
		err = s.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Write(ctx, storetest.Creates(0, 3)); err != nil {
				return err
			}
			cancel()
			_, err := tx.Find(ctx, []store.Lookup{{Tenant: storetest.Acme, EmailKey: "x"}})
			return err
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a cancelled batch: got the error %v, wanted that its context ended, and not that the database is unavailable", err)
		}
		counts, err := s.Counts(t.Context())
		equal(t, "error of Counts", err, nil)
		equal(t, "counts", counts, store.Counts{Tenants: 2})
	})
}

func TestUsedIDsArePruned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		used := func(id string, until time.Time) store.UsedID {
			return store.UsedID{TenantID: storetest.Acme, Source: "adfs", ID: id, EventID: "e", Until: until}
		}
		mustWrite(t, s, store.Write{UsedIDs: []store.UsedID{used("old", storetest.Time), used("new", storetest.Time.Add(time.Hour))}})
		n, err := s.Prune(t.Context(), store.PruneUsedIDs, storetest.Time.Add(time.Minute), 10)
		equal(t, "error of Prune", err, nil)
		equal(t, "number of pruned used ids", n, int64(1))
		found := find(t, s, store.Lookup{Tenant: storetest.Acme, Source: "adfs", UsedID: "old"}, store.Lookup{Tenant: storetest.Acme, Source: "adfs", UsedID: "new"})
		equal(t, "the used id that is over is gone", found[0].Used == nil, true)
		equal(t, "the used id that lasts is there", found[1].Used != nil, true)
	})
}
