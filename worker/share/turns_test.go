package share_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/share"
)

type item struct {
	tenant, source string
	size           int
}

func (e *item) Owner() (tenant, source string) { return e.tenant, e.source }
func (e *item) Size() int                      { return e.size + 2<<10 }

// shares counts the events of a batch by tenant and source.
func shares(batch []*item) string {
	counts := map[string]int{}
	for _, e := range batch {
		counts[e.tenant+"/"+e.source]++
	}
	return fmt.Sprint(counts)
}

func TestTurns(t *testing.T) {
	type lot struct {
		tenant, source string
		size, count    int
	}
	for _, tt := range []struct {
		name string
		lots []lot
		n    int
		want string
	}{
		{"one tenant has all of the batch", []lot{{"a", "x", 100, 50}}, 40, "map[a/x:40]"},
		{"who comes behind a flood has the next turn", []lot{{"a", "x", 100, 5000}, {"b", "y", 100, 1}}, 100, "map[a/x:99 b/y:1]"},
		{"tenants have the same share", []lot{{"a", "x", 100, 5000}, {"b", "y", 100, 5000}}, 64, "map[a/x:33 b/y:31]"},
		{"a share is one of bytes", []lot{{"a", "x", 254 << 10, 50}, {"b", "y", 2 << 10, 50}}, 20, "map[a/x:1 b/y:19]"},
		{"sources of a tenant take turns", []lot{{"a", "x", 100, 5000}, {"a", "y", 100, 5}, {"a", "z", 100, 2}}, 10, "map[a/x:4 a/y:4 a/z:2]"},
		{"large events end a batch", []lot{{"a", "x", 1 << 20, 50}}, 40, "map[a/x:4]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := share.NewTurns[*item](4)
			for _, l := range tt.lots {
				for range l.count {
					q.Add(&item{l.tenant, l.source, l.size})
				}
			}
			if got := shares(q.Take(t.Context(), tt.n, 0)); got != tt.want {
				t.Errorf("the batch has the events %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTurnsAreEqualInTheLongRun(t *testing.T) {
	q := share.NewTurns[*item](1)
	for range 2000 {
		q.Add(&item{"large", "x", 100 << 10})
		for range 8 {
			q.Add(&item{"small", "x", 1 << 10})
		}
		q.Add(&item{"middle", "x", 20 << 10})
	}
	bytes := map[string]int{}
	for range 20 {
		batch := q.Take(t.Context(), 200, 0)
		for _, e := range batch {
			bytes[e.tenant] += e.Size()
		}
		q.Done(batch)
	}
	for tenant, n := range bytes {
		if fair := (bytes["large"] + bytes["small"] + bytes["middle"]) / 3; n < fair*8/10 || n > fair*12/10 {
			t.Errorf("the tenant %s had %d bytes, want about %d", tenant, n, fair)
		}
	}
}

func TestNoTenantHasAllLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := share.NewTurns[*item](2)
		for range 100 {
			q.Add(&item{"a", "x", 10})
		}
		first, second := q.Take(t.Context(), 10, 0), q.Take(t.Context(), 10, 0)
		third := make(chan []*item)
		go func() { third <- q.Take(t.Context(), 10, 0) }()
		synctest.Wait()
		select {
		case got := <-third:
			t.Fatalf("a third batch was taken: %s, want that it waits", shares(got))
		default:
		}
		q.Add(&item{"b", "y", 10})
		if got := shares(<-third); got != "map[b/y:1]" {
			t.Errorf("the third batch has the events %s, want those of the other tenant", got)
		}
		go func() { third <- q.Take(t.Context(), 10, 0) }()
		synctest.Wait()
		q.Done(first)
		if got := shares(<-third); got != "map[a/x:10]" {
			t.Errorf("after the end of a batch the next has the events %s, want 10 of the same tenant", got)
		}
		q.Done(second)
	})
}

func TestLingerEndsWhenABatchIsFullOrTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const linger = 5 * time.Millisecond
		q := share.NewTurns[*item](4)
		put := func(after time.Duration) {
			go func() {
				<-time.After(after)
				q.Add(&item{"a", "x", 10})
			}()
		}
		take := func(want int, after time.Duration) {
			t.Helper()
			start := time.Now()
			batch := q.Take(t.Context(), 3, linger)
			if len(batch) != want || time.Since(start) != after {
				t.Errorf("the batch has %d events after %v, want %d after %v", len(batch), time.Since(start), want, after)
			}
			q.Done(batch)
		}
		put(0)
		put(time.Millisecond)
		put(2 * time.Millisecond)
		take(3, 2*time.Millisecond)
		put(0)
		put(time.Millisecond)
		take(2, linger)
		q.Add(&item{"a", "x", 10})
		q.Close()
		take(1, 0)
		if q.Add(&item{"a", "x", 10}) {
			t.Error("a closed lane took an event, want that it does not")
		}
		take(0, 0)
	})
}

func TestTakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan []*item)
		q := share.NewTurns[*item](1)
		go func() { got <- q.Take(ctx, 1, 0) }()
		synctest.Wait()
		cancel()
		if batch := <-got; batch != nil {
			t.Errorf("the batch has %d events, want none", len(batch))
		}
	})
}
