// Package providertest holds the suite that every provider passes ([Run]), an environment in memory to run providers
// in, and builders of the messages they read. Only tests import it.
package providertest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Tenant is the tenant of every envelope that this package builds.
const Tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

// Epoch is the time at which a [Clock] starts: whole seconds, as tokens have no finer ones.
var Epoch = time.Date(2026, time.November, 2, 9, 0, 0, 0, time.UTC)

// A Clock stands still until it is moved. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at [Epoch].
func NewClock() *Clock { return &Clock{now: Epoch} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Environment returns an environment whose keys and credentials are in memory, whose clock is clock, and whose log goes
// to the test. Its HTTP client is real, and its idle connections are closed when the test ends.
func Environment(t testing.TB, clock *Clock) (providers.Environment, *Keys, *Credentials) {
	t.Helper()
	keys, credentials := &Keys{clock: clock}, &Credentials{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return providers.Environment{
		Keys: keys, Credentials: credentials, HTTP: &http.Client{Transport: transport}, Now: clock.Now,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, keys, credentials
}

// Credentials holds credentials in memory. The zero value is ready.
type Credentials struct {
	mu   sync.Mutex
	all  map[string]providers.Credential
	used map[string]time.Time
}

var _ providers.Credentials = (*Credentials)(nil)

// Add puts a credential in place of any other of its id.
func (c *Credentials) Add(credential providers.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[string]providers.Credential)
	}
	c.all[credential.ID] = credential
}

// Credential implements providers.Credentials.
func (c *Credentials) Credential(ctx context.Context, id string) (providers.Credential, error) {
	if err := ctx.Err(); err != nil {
		return providers.Credential{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	credential, ok := c.all[id]
	if !ok {
		return providers.Credential{}, providers.ErrNoCredential
	}
	return credential, nil
}

// Used implements providers.Credentials.
func (c *Credentials) Used(id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		c.used = make(map[string]time.Time)
	}
	c.used[id] = at
}

// LastUsed returns when the credential was last used, or the zero time.
func (c *Credentials) LastUsed(id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[id]
}
