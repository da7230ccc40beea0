// Package workertest is a whole deployment in one test process: an embedded broker, a real database, OpenID issuers that
// sign real tokens over HTTP, and any number of workers that can be stopped, killed at a named point and started again.
//
// Nothing is simulated but misfortune. A [Process] is a worker with wrappers around its publisher, its store, its
// messages and its providers; a hook decides at each [fault.Point] whether the step fails, hangs, or ends the process.
package workertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/leaftest"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/stream"
)

// Ids of the default directory.
const (
	Acme     = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	Globex   = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	Sales    = "0a000000-0000-4000-8000-000000000001" // organization of Acme
	Support  = "0a000000-0000-4000-8000-000000000002" // organization of Acme
	Viewer   = "6f1c0c5e-0000-4000-8000-000000000001" // organization role of Acme
	Hangar   = "0b000000-0000-4000-8000-000000000001" // organization of Globex
	Pilot    = "6f1c0c5e-0000-4000-8000-0000000000b1" // organization role of Globex
	Audience = "idpsync"
)

// Directory is the default directory. ISSUER and SECOND stand for the addresses of the two issuers.
const Directory = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    owner: Owner@acme.example
    default_roles: [user]
    roles: [{name: user}, {name: admin}, {name: auditor}, {id: 6F1C0C5E-0000-4000-8000-000000000001, name: viewer, scope: organization}]
    organizations: [{id: 0A000000-0000-4000-8000-000000000001, name: Sales}, {id: 0A000000-0000-4000-8000-000000000002, name: Support}]
    sources:
      - name: okta
        kind: oidc
        issuer: ISSUER
        audiences: [idpsync]
        algorithms: [ES256]
        domains: [acme.example, bücher.example, bucher.example, eve.example]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups, avatar: claims.picture}
        default_roles: [user]
        unknown_roles: reject
        grants: [user, admin, viewer]
      - {name: narrow, kind: oidc, issuer: ISSUER, audiences: [narrow], algorithms: [ES256], domains: [acme.example], grants: [user]}
      - name: ping
        kind: oidc
        issuer: SECOND
        audiences: [idpsync]
        algorithms: [ES256]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}
        unknown_roles: reject
        grants: [user]
      - {name: workday, kind: feed, grants: [user, viewer]}
      - {name: trusted, kind: feed, trust_email: true, domains: [acme.example, other.example], grants: [user, viewer]}
  - id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: globex
    roles: [{name: user}, {name: captain}, {id: 6F1C0C5E-0000-4000-8000-0000000000B1, name: pilot, scope: organization}]
    organizations: [{id: 0B000000-0000-4000-8000-000000000001, name: Hangar}]
    sources:
      - name: okta
        kind: oidc
        issuer: ISSUER
        audiences: [idpsync]
        algorithms: [ES256]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}
        unknown_roles: reject
        grants: [user, captain]
`

// Options say what a deployment is made of.
type Options struct {
	Kind      string          // of the database; default SQLite
	Directory string          // default [Directory]
	Policies  []policy.File   // beside the built-in ones
	Topology  stream.Topology // limits of the streams; default small
	Unapplied bool            // begin without any directory
	Kinds     providers.Kinds // of sources; default those of the product
	Domain    string          // of JetStream: the broker is a hub that leaf nodes connect to, and not the embedded one
}

// patience bounds a whole test: it is long, as a machine may be slow, and short enough to end before go test does.
const patience = 3 * time.Minute

// A Deployment is all that workers share. Its methods are for the test's goroutine.
type Deployment struct {
	T       testing.TB
	Ctx     context.Context // ends a test that hangs
	Clock   *Clock          // of the database and all workers; the broker and the issuers have the real time
	Store   *store.Store
	Conn    *stream.Conn // as a sender and reader outside of the workers
	Issuer  *issuer.Issuer
	Second  *issuer.Issuer
	Key     *seal.Key
	Results *Journal // what the broker stored as results since the beginning
	Letters *Journal // and as dead letters

	server    *stream.Server // nil: the broker is hub
	hub       *leaftest.Node
	js        jetstream.JetStream // the plain client library, for what no worker does
	database  store.Options
	http      *http.Client
	log       *slog.Logger
	addresses *strings.Replacer
	kinds     providers.Kinds
	folder    string
	keyFile   string
	processes int
}

// New makes a deployment that ends with the test.
func New(t testing.TB, o Options) *Deployment {
	t.Helper()
	if o.Kind == "" {
		o.Kind = store.SQLite
	}
	if o.Kinds == nil {
		o.Kinds = assemble.Kinds()
	}
	if o.Directory == "" {
		o.Directory = Directory
	}
	if o.Topology == (stream.Topology{}) {
		o.Topology = stream.Topology{EventsBytes: 1 << 28, ResultsBytes: 1 << 28, DeadLetters: 1 << 28}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	d := &Deployment{
		T: t, Ctx: ctx, Clock: &Clock{}, folder: t.TempDir(), kinds: o.Kinds,
		log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	d.database = storetest.Migrated(t, o.Kind)
	d.database.Clock = d.Clock.At
	d.Store = storetest.OpenOptions(t, d.database)
	d.openIssuers()
	if o.Domain != "" {
		d.hub = leaftest.Hub(t, o.Domain)
	}
	d.openBroker(o.Topology)
	var err error
	d.keyFile = filepath.Join(d.folder, "seal.key")
	if d.Key, _, err = seal.EnsureFile(d.keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if !o.Unapplied {
		d.Apply(o.Directory, o.Policies...)
	}
	return d
}

// Each runs test with a deployment on every kind of database, beside other tests.
func Each(t *testing.T, o Options, test func(t *testing.T, d *Deployment)) {
	t.Helper()
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := o // each has its own: they run at the same time
			o.Kind = kind
			test(t, New(t, o))
		})
	}
}

func (d *Deployment) openIssuers() {
	d.T.Helper()
	var urls []string
	for _, i := range []**issuer.Issuer{&d.Issuer, &d.Second} {
		made, err := issuer.New(issuer.Options{Algorithms: []string{"ES256"}})
		if err != nil {
			d.T.Fatal(err)
		}
		site := httptest.NewServer(made)
		d.T.Cleanup(site.Close)
		made.SetURL(site.URL)
		urls = append(urls, site.URL)
		*i = made
	}
	d.addresses = strings.NewReplacer("ISSUER", urls[0], "SECOND", urls[1])
	transport := &http.Transport{}
	d.http = &http.Client{Timeout: 10 * time.Second, Transport: transport}
	d.T.Cleanup(transport.CloseIdleConnections)
}

func (d *Deployment) openBroker(topology stream.Topology) {
	d.T.Helper()
	d.startBroker()
	d.Migrate(topology)
	d.follow()
}

// follow makes the journals.
func (d *Deployment) follow() {
	d.T.Helper()
	d.Results = newJournal(d, stream.Tail)
	d.Letters = newJournal(d, stream.WatchDeadLetters)
}

func (d *Deployment) startBroker() {
	d.T.Helper()
	if d.hub == nil {
		d.startEmbedded()
	}
	d.openPlain()
	d.Conn = d.connect("test")
	d.T.Cleanup(d.Conn.Close)
}

func (d *Deployment) startEmbedded() {
	d.T.Helper()
	var err error
	d.server, err = stream.Embedded(d.Ctx, stream.EmbeddedOptions{DataDir: filepath.Join(d.folder, "broker"), Listen: "127.0.0.1:0", Open: true, Log: d.log})
	if err != nil {
		d.T.Fatal(err)
	}
	d.T.Cleanup(d.server.Shutdown)
}

// WhileBrokerIsDown stops the broker, calls f with the folder in which it keeps the stream of events, and starts it again. No
// process may be running.
func (d *Deployment) WhileBrokerIsDown(f func(events string) error) {
	d.T.Helper()
	d.Results.stop()
	d.Letters.stop()
	d.Conn.Close()
	d.server.Shutdown()
	found, err := filepath.Glob(filepath.Join(d.folder, "broker", "jetstream", "*", "streams", stream.StreamEvents))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the broker keeps the stream of events in %q, want one folder", found)
	}
	if err == nil {
		err = f(found[0])
	}
	if err != nil {
		d.T.Fatal(err)
	}
	d.startBroker()
	d.follow()
}

func (d *Deployment) connect(name string) *stream.Conn {
	d.T.Helper()
	c, err := stream.Connect(d.Ctx, d.broker(name, d.log))
	if err != nil {
		d.T.Fatal(err)
	}
	return c
}

// broker says how to connect under a name.
func (d *Deployment) broker(name string, log *slog.Logger) stream.Options {
	o := stream.Options{InProcess: d.server, Name: name, Log: log}
	if d.hub != nil {
		o.URL, o.Domain = d.hub.URL, d.hub.Domain
	}
	return o
}

// Migrate makes the streams as the topology says.
func (d *Deployment) Migrate(topology stream.Topology) {
	d.T.Helper()
	if _, err := stream.Migrate(d.Ctx, d.Conn, topology); err != nil {
		d.T.Fatal(err)
	}
}

// BrokerURL is where other processes reach the broker; it asks for no login.
func (d *Deployment) BrokerURL() string {
	if d.hub != nil {
		return d.hub.URL
	}
	return d.server.URL()
}

// Database returns how another process opens the database.
func (d *Deployment) Database() store.Options { return d.database }

// Folder is a folder of the deployment's own, removed with the test.
func (d *Deployment) Folder() string { return d.folder }

// Apply declares the directory in the way of idpsync apply. Running workers see it within their refresh interval.
func (d *Deployment) Apply(text string, policies ...policy.File) {
	d.T.Helper()
	folder, err := os.MkdirTemp(d.folder, "directory")
	if err != nil {
		d.T.Fatal(err)
	}
	if len(policies) > 0 {
		text += "\npolicies: policies/\n"
		if err := os.Mkdir(filepath.Join(folder, "policies"), 0o700); err != nil {
			d.T.Fatal(err)
		}
		for _, p := range policies {
			if err := os.WriteFile(filepath.Join(folder, "policies", p.Name), []byte(p.Text), 0o600); err != nil {
				d.T.Fatal(err)
			}
		}
	}
	declared, err := manifest.Parse(filepath.Join(folder, "directory.yaml"), []byte(d.addresses.Replace(text)), manifest.Options{Kinds: d.kinds})
	if err != nil {
		d.T.Fatal(err)
	}
	have, err := d.Store.Directory(d.Ctx)
	if err != nil {
		d.T.Fatal(err)
	}
	plan, err := manifest.NewPlan(have, declared)
	if err != nil {
		d.T.Fatal(err)
	}
	if _, err = d.Store.ApplyDirectory(d.Ctx, have.Revision, plan.Directory, "workertest", time.Now(), plan.Steps...); err != nil {
		d.T.Fatal(err)
	}
}

// Credential makes a credential of the tenant, with a name of its own and for any purpose, and returns its token.
func (d *Deployment) Credential(tenant string, grants ...string) string {
	d.T.Helper()
	_, token := d.CredentialFor(store.Credential{Tenant: tenant, Grants: grants})
	return token
}

// CredentialFor makes a credential of the given tenant, purpose, grants and, unless it shall have one of its own, name. It
// returns its id and its token.
func (d *Deployment) CredentialFor(c store.Credential) (id, token string) {
	d.T.Helper()
	id, secret, hash, err := providers.NewToken(rand.Reader)
	if err != nil {
		d.T.Fatal(err)
	}
	c.ID, c.SecretHash, c.CreatedAt = id, hash, time.Now()
	if c.Name == "" {
		c.Name = "test " + id
	}
	if err := d.Store.CreateCredential(d.Ctx, c, "workertest"); err != nil {
		d.T.Fatal(err)
	}
	return id, secret.Reveal()
}

// Users returns the users of a tenant, in the order of their ids.
func (d *Deployment) Users(tenant string) []store.User {
	d.T.Helper()
	users, err := d.Store.Users(d.Ctx, store.UserFilter{Tenant: tenant, Limit: 1_000_000})
	if err != nil {
		d.T.Fatal(err)
	}
	return users
}

// User returns the only user of the tenant with this canonical e-mail address.
func (d *Deployment) User(tenant, email string) store.User {
	d.T.Helper()
	users, err := d.Store.Users(d.Ctx, store.UserFilter{Tenant: tenant, Email: email})
	if err != nil {
		d.T.Fatal(err)
	}
	if len(users) != 1 {
		d.T.Fatalf("%d users have the address %s", len(users), email)
	}
	return users[0]
}

// Counts returns the numbers of rows of the store.
func (d *Deployment) Counts() store.Counts {
	d.T.Helper()
	c, err := d.Store.Counts(d.Ctx)
	if err != nil {
		d.T.Fatal(err)
	}
	return c
}

// State returns what the broker holds.
func (d *Deployment) State() stream.State {
	d.T.Helper()
	s, err := stream.ReadState(d.Ctx, d.Conn)
	if err != nil {
		d.T.Fatal(err)
	}
	return s
}

// Eventually waits until the condition holds. It is for what nobody signals, as the state of the broker's lanes.
func (d *Deployment) Eventually(what string, holds func() bool) {
	d.T.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-d.Ctx.Done():
			d.T.Fatalf("waited in vain: %s", what)
		}
	}
}

// Settle waits until no event waits anywhere: at the broker, in a worker's hands, or parked.
func (d *Deployment) Settle() {
	d.T.Helper()
	d.Eventually("for all events to be done", func() bool { return d.waiting() == 0 && d.Counts().Parked == 0 && d.waiting() == 0 })
}

// Drained waits until the broker has no event left, those in workers' hands included. Events may be parked.
func (d *Deployment) Drained() {
	d.T.Helper()
	d.Eventually("for all events to leave the broker", func() bool { return d.waiting() == 0 })
}

// waiting returns how many events and orders the broker holds. Its work queues know at once; what its consumers tell of
// themselves may be a moment old.
func (d *Deployment) waiting() uint64 {
	d.T.Helper()
	var n uint64
	for _, name := range []string{stream.StreamEvents, stream.StreamReplays} {
		s, err := d.js.Stream(d.Ctx, name)
		if err != nil {
			d.T.Fatal(err)
		}
		n += s.CachedInfo().State.Msgs
	}
	return n
}

// GiveUp lets time pass until no event is parked, in steps small enough to count as waiting, and returns how much.
func (d *Deployment) GiveUp() time.Duration {
	d.T.Helper()
	var passed time.Duration
	d.Eventually("for the parked events to be given up", func() bool {
		d.Clock.Advance(5 * time.Second)
		passed += 5 * time.Second
		return d.Counts().Parked == 0
	})
	return passed
}

// Fingerprint of what the store holds, to show that nothing was changed.
func (d *Deployment) Fingerprint(tenant string) string {
	d.T.Helper()
	var b strings.Builder
	for _, u := range d.Users(tenant) {
		fmt.Fprintf(&b, "%+v\n", u)
		ids, err := d.Store.Identities(d.Ctx, store.IdentityFilter{Tenant: tenant, UserID: u.ID})
		if err != nil {
			d.T.Fatal(err)
		}
		fmt.Fprintf(&b, "%+v\n", ids)
	}
	return b.String()
}
