package share_test

import (
	"fmt"
	"testing"

	"github.com/idpsync/idpsync/worker/share"
)

// greedy takes one after the other until it is refused, and returns how many it got.
func greedy(p *share.Pool, tenant, address string) int {
	for n := 0; ; n++ {
		if !p.Hold(tenant, address).Take(1) {
			return n
		}
	}
}

func TestNobodyUsesUpAPool(t *testing.T) {
	t.Run("one tenant leaves half", func(t *testing.T) {
		p := share.NewPool(256)
		got := []int{greedy(p, "acme", ""), greedy(p, "globex", ""), greedy(p, "initech", "")}
		if want := []int{128, 64, 32}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("greedy tenants get %v one after the other, want %v", got, want)
		}
	})
	t.Run("one address leaves a quarter", func(t *testing.T) {
		p := share.NewPool(256)
		got := 0
		for i := range 300 {
			if p.Hold(fmt.Sprint("tenant", i), "192.0.2.1").Take(1) {
				got++
			}
		}
		if got != 192 {
			t.Errorf("one address with many tenants gets %d of 256, want 192", got)
		}
		if n := greedy(p, "acme", "192.0.2.2"); n != 32 {
			t.Errorf("another address gets %d afterwards, want 32, half of what is left", n)
		}
	})
	t.Run("a tenant leaves half of its address's share", func(t *testing.T) {
		p := share.NewPool(256)
		if n := greedy(p, "acme", "192.0.2.1"); n != 96 {
			t.Errorf("a tenant behind a proxy gets %d of 256, want 96", n)
		}
		if n := greedy(p, "globex", "192.0.2.1"); n != 48 {
			t.Errorf("another tenant behind it gets %d, want 48", n)
		}
	})
	t.Run("the first takes what there is", func(t *testing.T) {
		p := share.NewPool(1)
		h := p.Hold("acme", "192.0.2.1")
		if !h.Take(1) || h.Take(1) || p.Hold("globex", "").Take(1) {
			t.Error("a pool of one does not go to the first who asks, and to nobody else")
		}
		h.Release()
		h.Release()
		if n := p.Used(); n != 0 {
			t.Errorf("%d are taken after the release, want none", n)
		}
		if !p.Hold("globex", "").Take(1) {
			t.Error("what was given back cannot be taken, want that it can")
		}
	})
}

func TestAddressIsWhatOneSubscriberHas(t *testing.T) {
	for peer, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80": "fe80::/64", "@": "", "": "",
	} {
		if got := share.Address(peer); got != want {
			t.Errorf("the address of %q is %q, want %q", peer, got, want)
		}
	}
}
