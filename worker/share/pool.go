// Package share divides what a process has little of, as turns, memory and connections, between tenants and network addresses.
package share

import (
	"net/netip"
	"sync"
)

// A Pool is an amount of something that tenants and addresses take from and give back. It is safe for concurrent use.
//
// No tenant takes more than it leaves free, and no address more than three quarters of all: whoever has taken nothing
// yet finds something, however much one other takes. What a tenant leaves free is measured within the share of its
// address, so that tenants behind one proxy do not use up each other's. A tenant that has nothing may take all that is
// free. The rule for tenants is that of dynamic thresholds for switches with one memory (Choudhury and Hahne, 1998).
type Pool struct {
	total int64

	mu        sync.Mutex
	used      int64
	tenants   map[string]int64
	addresses map[string]int64
}

// NewPool returns a pool that holds the given amount.
func NewPool(total int64) *Pool {
	return &Pool{total: total, tenants: map[string]int64{}, addresses: map[string]int64{}}
}

// Hold begins a holding of a tenant, which is empty. An address of "" is unknown, and has no bound.
func (p *Pool) Hold(tenant, address string) *Holding {
	return &Holding{pool: p, tenant: tenant, address: address}
}

// Used is how much of the pool is taken.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

func (p *Pool) take(tenant, address string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.total - p.used - n
	if address != "" {
		left = min(left, p.total-p.total/4-p.addresses[address]-n)
	}
	if held := p.tenants[tenant]; left < 0 || held > 0 && held+n > left {
		return false
	}
	p.add(tenant, address, n)
	return true
}

func (p *Pool) give(tenant, address string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(tenant, address, -n)
}

// add changes what a tenant and an address hold, and forgets those that hold nothing.
func (p *Pool) add(tenant, address string, n int64) {
	p.used += n
	for _, of := range []struct {
		held map[string]int64
		key  string
	}{{p.tenants, tenant}, {p.addresses, address}} {
		if of.held[of.key] += n; of.held[of.key] == 0 {
			delete(of.held, of.key)
		}
	}
}

// A Holding is what one request or connection has of a [Pool]. One goroutine uses it at a time.
type Holding struct {
	pool            *Pool
	tenant, address string
	n               int64
}

// Take adds n to the holding, and reports whether the pool lets its tenant and address have that.
func (h *Holding) Take(n int64) bool {
	if !h.pool.take(h.tenant, h.address, n) {
		return false
	}
	h.n += n
	return true
}

// Release gives back all of it.
func (h *Holding) Release() {
	if h.n > 0 {
		h.pool.give(h.tenant, h.address, h.n)
		h.n = 0
	}
}

// Address returns who counts as one address, given the host and port of a peer: an IPv4 address, or the /64 network of an
// IPv6 address, which is what one subscriber has (RFC 6177). It is "" for what is neither, as a Unix socket.
func Address(peer string) string {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return ""
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ""
	}
	return network.String()
}
