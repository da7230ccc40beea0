package share_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/share"
)

// A tenant is full by its items or its bytes in one lane, and a lane by the bytes of all; each stands for itself.
func TestRoomOfATenantAndOfALane(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		name        string
		tenants     []string // that put something into the lane
		items, size int      // of each
		lane, of    string
		ok, full    bool
	}{
		{"below both bounds", []string{"a"}, 9, 1 << 10, "logins", "a", true, false},
		{"as many items as one may have", []string{"a"}, 10, 1 << 10, "logins", "a", false, true},
		{"another tenant", []string{"a"}, 10, 1 << 10, "logins", "b", true, false},
		{"another lane", []string{"a"}, 10, 1 << 10, "feeds", "a", true, false},
		{"as many bytes as one may have", []string{"a"}, 2, 8 << 20, "logins", "a", false, true},
		{"as many bytes as the lane may have", []string{"a", "b", "c"}, 2, 6 << 20, "logins", "d", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := share.NewLoads(10)
			for _, tenant := range tt.tenants {
				for range tt.items {
					l.Add("logins", tenant, tt.size, now)
				}
			}
			if ok, full, _ := l.Room(tt.lane, tt.of); ok != tt.ok || full != tt.full {
				t.Errorf("there is room: %v, the tenant is full: %v; want %v and %v", ok, full, tt.ok, tt.full)
			}
			for _, tenant := range tt.tenants {
				for range tt.items {
					l.Drop("logins", tenant, tt.size, now)
				}
			}
			if ok, _, _ := l.Room(tt.lane, tt.of); !ok {
				t.Error("there is no room after all has ended, want some")
			}
		})
	}
}

// The rate is that of the last quarter of a second, smoothed; a tenant of which none is known has that of the one before.
func TestRateOfATenant(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	l := share.NewLoads(1000)
	rate := func(tenant string, want float64) {
		t.Helper()
		if _, got := l.Of("logins", tenant); got != want {
			t.Errorf("the rate of the tenant %s is %v, want %v", tenant, got, want)
		}
	}
	for range 300 {
		l.Add("logins", "a", 1, now)
	}
	rate("a", 0)
	for i := range 100 {
		l.Drop("logins", "a", 1, now.Add(time.Duration(i+1)*5*time.Millisecond))
	}
	rate("a", 200)
	for i := range 200 {
		l.Drop("logins", "a", 1, now.Add(500*time.Millisecond+time.Duration(i+1)*10*time.Millisecond))
	}
	rate("b", 100.390625) // 200 and then 100, eight times
	l.Add("logins", "b", 1, now)
	rate("b", 100.390625)
}

func TestWhoWaitsForRoomIsTold(t *testing.T) {
	t.Parallel()
	l := share.NewLoads(1)
	freed := l.Freed()
	l.Free()
	select {
	case <-freed:
	default:
		t.Error("who waited was not told that there may be room")
	}
	select {
	case <-l.Freed():
		t.Error("who comes later is told of room that was there before")
	default:
	}
}
