package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// batchRows is the number of rows of a benchmarked batch.
const batchRows = 500

// lookupsFor are what a worker looks for before it creates the users of w.
func lookupsFor(w store.Write) []store.Lookup {
	lookups := make([]store.Lookup, len(w.Users))
	for i, u := range w.Users {
		lookups[i] = store.Lookup{
			Tenant: u.TenantID, Source: storetest.SourceFeed, EventID: w.Events[i].EventID, EmailKey: u.EmailKey, IdentityNameKey: u.IdentityNameKey,
		}
	}
	return lookups
}

func create(ctx context.Context, s *store.Store, w store.Write) error {
	lookups := lookupsFor(w)
	return s.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.Find(ctx, lookups); err != nil {
			return err
		}
		return tx.Write(ctx, w)
	})
}

// BenchmarkCreate finds and writes batches of new users from a feed: user, grant and ledger row for each.
func BenchmarkCreate(b *testing.B) {
	for _, kind := range storetest.Kinds() {
		for _, writers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind, writers), func(b *testing.B) {
				s := storetest.Open(b, kind)
				storetest.Seed(b, s)
				var mu sync.Mutex
				next := 0
				claim := func() (store.Write, bool) {
					mu.Lock()
					defer mu.Unlock()
					if next >= b.N {
						return store.Write{}, false
					}
					next++
					return storetest.Creates((next-1)*batchRows, batchRows), true
				}
				b.ResetTimer()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for {
							w, ok := claim()
							if !ok {
								return
							}
							if err := create(b.Context(), s, w); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)*batchRows/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// BenchmarkFindExisting finds users by identity and e-mail, with their roles, as for repeated logins.
func BenchmarkFindExisting(b *testing.B) {
	for _, kind := range storetest.Kinds() {
		b.Run(kind, func(b *testing.B) {
			s := storetest.Open(b, kind)
			storetest.Seed(b, s)
			var users []store.User
			for i := range 20 {
				w := storetest.Creates(i*batchRows, batchRows)
				for _, u := range w.Users {
					w.Identities = append(w.Identities, storetest.Identity(u, u.ID))
				}
				if err := create(b.Context(), s, w); err != nil {
					b.Fatal(err)
				}
				users = slices.Concat(users, w.Users)
			}
			b.ResetTimer()
			for i := range b.N {
				lookups := make([]store.Lookup, batchRows)
				for k := range lookups {
					u := users[(i*batchRows+k*7)%len(users)]
					lookups[k] = store.Lookup{Tenant: u.TenantID, Source: storetest.SourceLogins, EventID: fmt.Sprint("new", k), Issuer: storetest.Issuer, Subject: u.ID, EmailKey: u.EmailKey}
				}
				err := s.Batch(b.Context(), func(ctx context.Context, tx *store.Tx) error {
					found, err := tx.Find(ctx, lookups)
					if err == nil && found[0].ByIdentity == nil {
						b.Error("nothing found")
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*batchRows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
