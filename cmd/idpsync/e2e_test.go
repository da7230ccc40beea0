package main

import (
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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
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
        domains: [acme.example, rival.example]
        mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}
        default_roles: [user]
        grants: [user, viewer]
      - name: adfs
        kind: saml
        metadata_file: idp.xml
        entity_id: https://sp.acme.example/saml
        acs_url: https://sp.acme.example/saml/acs
        idp_initiated: true
        trust_email: true
        domains: [acme.example, rival.example]
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
	broker  *exec.Cmd     // the nats-server
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
	if s.idp, err = idp.New(idp.Options{EntityID: "https://idp.acme.example/metadata"}); err != nil {
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
	if p.code != kit.ExitOK {
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

// jetStream is the part of a nats-server's configuration that says where its data are. Without a limit of its own a server
// takes a share of the free disk, and on a nearly full one that is less than the streams ask for.
func (s *site) jetStream() string {
	return fmt.Sprintf("jetstream { store_dir: %q, max_file_store: 64GB }\n", s.path("broker"))
}

// natsServer starts a nats-server with JetStream in a process of its own and returns its URL. A configuration file among the
// arguments has to hold jetStream.
func (s *site) natsServer(args ...string) string {
	s.t.Helper()
	path := filepath.Join(s.folder, "nats-server")
	build := exec.CommandContext(s.ctx, "go", "build", "-o", path, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	log := newTap()
	if !slices.Contains(args, "-c") {
		s.write("nats-server.conf", s.jetStream())
		args = append(args, "-c", s.path("nats-server.conf"))
	}
	cmd := exec.Command(path, append([]string{"--addr", "127.0.0.1", "--port", "-1"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.broker = cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // one that has ended needs none
		_ = cmd.Wait()
	})
	address := log.await(s.t, s.ctx, `Listening for client connections on (\S+)`)[1]
	log.await(s.t, s.ctx, `Server is ready`)
	return "nats://" + address
}

// reloadNATS has the nats-server read its configuration again.
func (s *site) reloadNATS() {
	s.t.Helper()
	if err := s.broker.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
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
