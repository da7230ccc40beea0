package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/stream"
)

// mainEnv makes the test binary the program itself, so that tests can start it as a process and kill it.
const mainEnv = "IDPSYNC_TEST_MAIN"

func TestMain(m *testing.M) {
	if stand := standIns[filepath.Base(os.Args[0])]; stand != nil {
		os.Exit(stand(os.Args[1:]))
	}
	if os.Getenv(mainEnv) != "" {
		main()
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Ids of the directory of a site.
const (
	acme    = "2489E9AD-2EE2-8E00-8EC9-32D5F69181C0" // as the API's own documentation writes it
	globex  = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	sales   = "0A000000-0000-4000-8000-000000000001"
	support = "0A000000-0000-4000-8000-000000000002"
	viewer  = "6F1C0C5E-0000-4000-8000-000000000001"
)

const siteDirectory = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}, {name: admin}, {id: 6F1C0C5E-0000-4000-8000-000000000001, name: viewer, scope: organization}]
    organizations: [{id: 0A000000-0000-4000-8000-000000000001, name: Sales}, {id: 0A000000-0000-4000-8000-000000000002, name: Support}]
    sources:
      - name: okta
        kind: oidc
        issuer: ISSUER
        audiences: [idpsync]
        algorithms: [ES256]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}
        default_roles: [user]
        grants: [user]
      - name: adfs
        kind: saml
        metadata_file: idp.xml
        entity_id: https://sp.acme.example/saml
        acs_url: https://sp.acme.example/saml/acs
        idp_initiated: true
        mapping: {email: 'attributes["mail"][0]', name: 'attributes["displayName"][0]'}
        default_roles: [user]
        grants: [user]
  - id: 3489e9ad-2ee2-8e00-8ec9-32d5f69181c0
    name: globex
    roles: [{name: user}]
    sources:
      - name: okta
        kind: oidc
        issuer: ISSUER
        audiences: [idpsync]
        algorithms: [ES256]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name}
        grants: [user]
policies: policies/
`

// patience bounds a test: long, as machines are slow at times, and short enough to end before go test does.
const patience = 2 * time.Minute

// A site is a deployment of the whole program: folders, identity providers, and either the embedded broker and database
// or a nats-server and PostgreSQL. Every verb finds it through the environment.
type site struct {
	t       testing.TB
	ctx     context.Context
	folder  string
	environ map[string]string
	cluster bool
	issuer  *issuer.Issuer
	idp     *idp.IdP
	data    store.Options // of PostgreSQL
}

// embeddedSite is a site with nothing but a data directory.
func embeddedSite(t testing.TB) *site {
	t.Helper()
	s := newSite(t)
	s.apply()
	return s
}

// clusterSite is a site with a nats-server and PostgreSQL, for any number of workers.
func clusterSite(t testing.TB) *site {
	t.Helper()
	s := newSite(t)
	s.cluster = true
	s.data = storetest.Empty(t, store.Postgres)
	s.environ["IDPSYNC_DATABASE_URL"] = s.data.URL
	s.environ["IDPSYNC_NATS_URL"] = s.natsServer()
	s.must("migrate")
	s.apply()
	s.environ["IDPSYNC_SEAL_KEY_FILE"] = s.path("seal.key") // the same for all workers
	if _, _, err := seal.EnsureFile(s.path("seal.key"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return s
}

func newSite(t testing.TB) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, folder: t.TempDir()}
	s.environ = map[string]string{"IDPSYNC_DATA_DIR": filepath.Join(s.folder, "data")}
	var err error
	if s.issuer, err = issuer.New(issuer.Options{Algorithms: []string{"ES256"}}); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.issuer)
	t.Cleanup(web.Close)
	s.issuer.SetURL(web.URL)
	if s.idp, err = idp.New(idp.Options{EntityID: demoIDP}); err != nil {
		t.Fatal(err)
	}
	s.write("idp.xml", string(s.idp.Metadata()))
	s.write("policies/README", "")
	s.write("directory.yaml", strings.ReplaceAll(siteDirectory, "ISSUER", web.URL))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.folder, filepath.FromSlash(name)) }

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// environment returns the environment with which the program is started, as pairs.
func (s *site) environment(more ...string) []string {
	var pairs []string
	for name, value := range s.environ {
		pairs = append(pairs, name+"="+value)
	}
	return append(pairs, more...)
}

// do runs a verb to its end.
func (s *site) do(stdin string, args ...string) program {
	s.t.Helper()
	var stdout, stderr buffer
	code := run(s.ctx, args, s.environment(), strings.NewReader(stdin), &stdout, &stderr)
	return program{stdout.String(), stderr.String(), code}
}

// must runs a verb that has to succeed, and returns what it prints.
func (s *site) must(args ...string) string {
	s.t.Helper()
	p := s.do("", args...)
	if p.code != exitOK {
		s.t.Fatalf("idpsync %s: exit %d\n%s%s", strings.Join(args, " "), p.code, p.stdout, p.stderr)
	}
	return p.stdout
}

func (s *site) apply() {
	s.t.Helper()
	s.must("apply", "-f", s.path("directory.yaml"), "--yes")
}

// credential makes a credential and returns its token.
func (s *site) credential(tenant string, grants string) string {
	s.t.Helper()
	return strings.TrimSpace(s.must("credential", "create", "--tenant", tenant, "--name", "test", "--grants", grants))
}

// users returns what get users prints.
func (s *site) users(tenant string) []userItem {
	s.t.Helper()
	var list []userItem
	if err := json.Unmarshal([]byte(s.must("get", "users", "--tenant", tenant, "--limit", "1000", "--json")), &list); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// A tap is output that is waited for.
type tap struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func newTap() *tap { return &tap{grown: make(chan struct{})} }

func (o *tap) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.b.Write(p)
}

func (o *tap) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the output holds a match and returns its groups.
func (o *tap) await(t testing.TB, ctx context.Context, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		o.mu.Lock()
		match, grown := re.FindStringSubmatch(o.b.String()), o.grown
		o.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatalf("%s was not printed:\n%s", pattern, o)
		}
	}
}

// A running is one idpsync run, in this process or in one of its own.
type running struct {
	s        *site
	stdout   *tap
	stderr   *tap
	http     string
	admin    string
	process  *exec.Cmd // nil in this process
	cancel   context.CancelFunc
	finished chan int // exit code
	stopped  bool
}

// worker starts idpsync run in this process and waits until it is ready.
func (s *site) worker(args ...string) *running {
	s.t.Helper()
	r, args := s.prepare(args)
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	environ := s.environment()
	if s.cluster {
		environ = append(environ, "IDPSYNC_DATA_DIR="+s.workerFolder())
	}
	go func() { r.finished <- run(ctx, args, environ, strings.NewReader(""), r.stdout, r.stderr) }()
	r.ready()
	return r
}

// child starts idpsync run in a process of its own and waits until it is ready.
func (s *site) child(args ...string) *running {
	s.t.Helper()
	r, args := s.prepare(args)
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	environ := s.environment(mainEnv+"=1", "PATH="+os.Getenv("PATH"))
	if s.cluster {
		environ = append(environ, "IDPSYNC_DATA_DIR="+s.workerFolder())
	}
	r.process = exec.Command(self, args...)
	r.process.Env, r.process.Stdout, r.process.Stderr = environ, r.stdout, r.stderr
	if err := r.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	r.cancel = func() { _ = r.process.Process.Signal(os.Interrupt) } // one that has ended needs none
	go func() {
		_ = r.process.Wait() // the code tells
		r.finished <- r.process.ProcessState.ExitCode()
	}()
	r.ready()
	return r
}

// workerFolder makes a data directory for one of several workers.
func (s *site) workerFolder() string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.folder, "worker")
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *site) prepare(args []string) (*running, []string) {
	r := &running{s: s, stdout: newTap(), stderr: newTap(), finished: make(chan int, 1)}
	s.t.Cleanup(func() {
		if !r.stopped {
			r.stop()
		}
	})
	begin := []string{"run", "--log-level", "debug", "--log-format", "json"}
	for _, listener := range []string{"--http-listen", "--admin-listen", "--nats-listen"} {
		if !slices.Contains(args, listener) {
			begin = append(begin, listener, "127.0.0.1:0")
		}
	}
	return r, append(begin, args...)
}

func (r *running) ready() {
	r.s.t.Helper()
	r.stderr.await(r.s.t, r.s.ctx, `"msg":"worker ready"|idpsync: `)
	if !strings.Contains(r.stderr.String(), "worker ready") {
		r.s.t.Fatalf("the worker does not start:\n%s", r.stderr)
	}
	r.http = "http://" + r.stderr.await(r.s.t, r.s.ctx, `"msg":"HTTP API listens","address":"([^"]+)"`)[1]
	r.admin = "http://" + r.stderr.await(r.s.t, r.s.ctx, `"msg":"admin listens","address":"([^"]+)"`)[1]
}

// stop asks the worker to drain, and fails the test unless it does so with exit code 0.
func (r *running) stop() {
	r.s.t.Helper()
	r.stopped = true
	r.cancel()
	if code := <-r.finished; code != exitOK {
		r.s.t.Errorf("the worker ended with exit code %d:\n%s", code, r.stderr)
	}
}

// kill ends a child as kill -9 does.
func (r *running) kill() {
	r.s.t.Helper()
	r.stopped = true
	if err := r.process.Process.Kill(); err != nil {
		r.s.t.Fatal(err)
	}
	<-r.finished
}

// natsServer starts a nats-server with JetStream in a process of its own and returns its URL.
func (s *site) natsServer() string {
	s.t.Helper()
	path := filepath.Join(s.folder, "nats-server")
	build := exec.CommandContext(s.ctx, "go", "build", "-o", path, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	log := newTap()
	cmd := exec.Command(path, "--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", s.path("broker"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // one that has ended needs none
		_ = cmd.Wait()
	})
	address := log.await(s.t, s.ctx, `Listening for client connections on (\S+)`)[1]
	log.await(s.t, s.ctx, `Server is ready`)
	return "nats://" + address
}

// nats connects a plain client.
func (s *site) nats() *nats.Conn {
	s.t.Helper()
	url, options := s.environ["IDPSYNC_NATS_URL"], []nats.Option{nats.NoReconnect()}
	if url == "" {
		c, err := stream.ReadCredentials(s.environ["IDPSYNC_DATA_DIR"])
		if err != nil {
			s.t.Fatal(err)
		}
		url, options = c.URL, append(options, nats.UserInfo(c.User, c.Password.Reveal()))
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	return conn
}

// freeAddress returns an address of loopback where nobody listens now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// eventually waits until the condition holds. It is for what nobody signals.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// client is an HTTP client of a test's own.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
