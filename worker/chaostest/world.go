package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// The directory of a run.
const (
	acme     = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	globex   = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	audience = "idpsync"

	directory = `tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    default_roles: [user]
    roles: [{name: user}, {name: admin}]
    sources:
      - {name: okta, kind: oidc, issuer: STEADY, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], unknown_roles: reject, grants: [user, admin], mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}}
      - {name: ping, kind: oidc, issuer: SHAKY, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user], mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name}}
      - {name: adfs, kind: saml, metadata_file: METADATA, entity_id: "https://sp.corp.example", acs_url: "https://sp.corp.example/acs", trust_email: true, domains: [corp.example], grants: [user], mapping: {email: 'attributes["mail"][0]', name: 'attributes["name"][0]'}}
      - {name: workday, kind: feed, format: user, trust_email: true, domains: [corp.example], grants: [user]}
  - id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: globex
    default_roles: [user]
    roles: [{name: user}]
    sources:
      - {name: okta, kind: oidc, issuer: STEADY, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], unknown_roles: reject, grants: [user], mapping: {email: claims.email, email_verified: claims.email_verified, name: claims.name, roles: claims.groups}}
      - {name: people, kind: feed, format: user, trust_email: true, domains: [corp.example], grants: [user]}
`
)

// A world is everything of one run that is not idpsync itself.
type world struct {
	o        options
	folder   string
	programs string // folder of the programs that were built
	root     string // of the module
	spawner  *spawner
	tally    *tally
	log      *slog.Logger
	database string // URL
	broker   *cluster
	workers  []*slot
	steady   *issuer.Issuer
	shaky    *issuer.Issuer // the first of the holes
	holes    []*hole
	saml     *idp.IdP
	sites    []*http.Server
	tokens   map[string]string // credential of each tenant for commands
	feeds    map[string]string // and for its feed
	conn     *stream.Conn
	nc       *nats.Conn
	db       *sql.DB
}

// newWorld starts everything. What it returns is to be closed, also with an error.
func newWorld(ctx context.Context, o options, p programs, folder string) (w *world, err error) {
	w = &world{o: o, folder: folder, programs: p.folder, root: p.root, spawner: newSpawner(), tally: newTally(), tokens: map[string]string{}, feeds: map[string]string{}, database: o.postgres}
	file, err := logFile(filepath.Join(folder, "harness.log"))
	if err != nil {
		return w, err
	}
	w.log = slog.New(slog.NewTextHandler(file, nil))
	if w.broker, err = newCluster(ctx, w, max(o.nodes, 1)); err != nil {
		return w, err
	}
	if err := w.openIssuers(); err != nil {
		return w, err
	}
	if _, _, err := seal.EnsureFile(w.sealKey(), rand.Reader); err != nil {
		return w, err
	}
	if err := w.setUp(ctx); err != nil {
		return w, err
	}
	if w.db, err = sql.Open("postgres", w.database); err != nil {
		return w, err
	}
	if o.sabotage == noLedger {
		if err := hideLedger(ctx, w.db); err != nil {
			return w, err
		}
	}
	if w.conn, err = stream.Connect(ctx, stream.Options{URL: w.broker.url(), Name: "chaos", Log: w.log}); err != nil {
		return w, err
	}
	if w.nc, err = nats.Connect(w.broker.url(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)); err != nil {
		return w, err
	}
	if o.ackWait > 0 {
		if err := w.setAckWait(ctx); err != nil {
			return w, err
		}
	}
	for n := range o.workers {
		s, err := newSlot(w, n)
		if err != nil {
			return w, err
		}
		w.workers = append(w.workers, s)
	}
	return w, nil
}

func (w *world) sealKey() string { return filepath.Join(w.folder, "seal.key") }

func (w *world) openIssuers() (err error) {
	itself := func(i *issuer.Issuer) http.Handler { return i }
	if w.steady, err = w.openIssuer(itself); err != nil {
		return err
	}
	for range max(w.o.holes, 1) {
		_, err := w.openIssuer(func(i *issuer.Issuer) http.Handler {
			h := &hole{Issuer: i}
			w.holes = append(w.holes, h)
			return h
		})
		if err != nil {
			return err
		}
	}
	w.shaky = w.holes[0].Issuer
	w.saml, err = newSAML()
	return err
}

// openIssuer opens the site of an issuer until the end of the run.
func (w *world) openIssuer(site func(*issuer.Issuer) http.Handler) (*issuer.Issuer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	made, err := issuer.New(issuer.Options{Algorithms: []string{"ES256"}, URL: "http://" + l.Addr().String(), Lifetime: time.Hour})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: site(made), ReadHeaderTimeout: 5 * time.Second}
	w.sites = append(w.sites, server)
	go func() { _ = server.Serve(l) }() // ends with close
	return made, nil
}

// setUp does what an operator does with a new deployment.
func (w *world) setUp(ctx context.Context) error {
	if _, err := w.idpsync(ctx, "migrate", "--nats-url", w.broker.url(), "--replicas", strconv.Itoa(len(w.broker.nodes))); err != nil {
		return err
	}
	declared := w.o.directory
	if declared == "" {
		declared = directory
	}
	if err := w.apply(ctx, declared); err != nil {
		return err
	}
	for _, tenant := range []string{acme, globex} {
		for purpose, tokens := range map[string]map[string]string{"commands": w.tokens, "feed:" + feedOf(tenant): w.feeds} {
			token, err := w.idpsync(ctx, "credential", "create", "--tenant", tenant, "--name", "chaos", "--for", purpose, "--grants", "user")
			if err != nil {
				return err
			}
			tokens[tenant] = strings.TrimSpace(string(token))
		}
	}
	return nil
}

// apply declares a directory.
func (w *world) apply(ctx context.Context, declared string) error {
	file, metadata := filepath.Join(w.folder, "directory.yaml"), filepath.Join(w.folder, "idp.xml")
	if err := os.WriteFile(metadata, w.saml.Metadata(), 0o600); err != nil {
		return err
	}
	names := []string{"STEADY", w.steady.URL(), "SHAKY", w.shaky.URL(), "METADATA", metadata}
	for n, h := range w.holes {
		names = append(names, fmt.Sprintf("HOLE%d", n), h.URL())
	}
	if err := os.WriteFile(file, []byte(strings.NewReplacer(names...).Replace(declared)), 0o600); err != nil {
		return err
	}
	_, err := w.idpsync(ctx, "apply", "-f", file, "--yes")
	return err
}

// feedOf is the feed of a tenant.
func feedOf(tenant string) string {
	if tenant == globex {
		return "people"
	}
	return "workday"
}

// idpsync runs a verb of the plain program and returns what it printed. An exit code other than 0 is an *exec.ExitError.
func (w *world) idpsync(ctx context.Context, args ...string) ([]byte, error) {
	args = append(args, "--database-url", w.database, "--data-dir", filepath.Join(w.folder, "operator"), "--seal-key-file", w.sealKey())
	cmd := exec.CommandContext(ctx, filepath.Join(w.programs, plainProgram), args...)
	cmd.Env = environment()
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("idpsync %s: %w\n%s", args[0], err, exit.Stderr)
	}
	return out, err
}

// environment is ours without what is meant for tests.
func environment(more ...string) []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "IDPSYNC_") {
			env = append(env, pair)
		}
	}
	return append(env, more...)
}

func (w *world) setAckWait(ctx context.Context) error {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return err
	}
	for _, lane := range []string{record.LaneLogins, record.LaneFeeds} {
		c, err := js.Consumer(ctx, stream.StreamEvents, lane)
		if err != nil {
			return err
		}
		config := c.CachedInfo().Config
		config.AckWait = w.o.ackWait
		if _, err := js.UpdateConsumer(ctx, stream.StreamEvents, config); err != nil {
			return err
		}
	}
	return nil
}

// crashDatabase ends PostgreSQL as a crash does, and starts it again after a while.
func (w *world) crashDatabase(ctx context.Context, length time.Duration) error {
	script := filepath.Join(w.root, ".ci", "postgres")
	if out, err := exec.Command(script, "halt", w.o.postgres).CombinedOutput(); err != nil {
		return fmt.Errorf("end PostgreSQL: %w: %s", err, out)
	}
	pause(ctx, length)
	if out, err := exec.Command(script, "resume", w.o.postgres).CombinedOutput(); err != nil {
		return fmt.Errorf("start PostgreSQL again: %w: %s", err, out)
	}
	return nil
}

func (w *world) databaseHost() string {
	u, err := url.Parse(w.database)
	if err != nil {
		return ""
	}
	return u.Host
}

// drained waits until nothing is under way.
func (w *world) drained(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last string
	for {
		done, state := w.quiet(ctx)
		if done {
			return nil
		}
		if state != last {
			w.log.Info("draining", "left", state)
		}
		last = state
		if pause(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("not everything was done within %v: %s", patience, last)
		}
	}
}

// quiet reports whether no event waits anywhere, and says what does.
func (w *world) quiet(ctx context.Context) (bool, string) {
	h, err := stream.ReadHolding(ctx, w.conn, stream.StreamEvents)
	if err != nil {
		return false, err.Error()
	}
	var parked, outbox int
	if err := w.db.QueryRowContext(ctx, `select (select count(*) from parked), (select count(*) from outbox)`).Scan(&parked, &outbox); err != nil {
		return false, err.Error()
	}
	stored := h.Last - h.First + 1 - uint64(len(h.Gaps))
	return stored+uint64(parked)+uint64(outbox) == 0, fmt.Sprintf("%d stored, %d parked, %d in the outbox", stored, parked, outbox)
}

// stopWorkers ends all workers as an operator does, and says which of them did not like it.
func (w *world) stopWorkers(context.Context) error {
	var errs []error
	for _, s := range w.workers {
		errs = append(errs, s.stop())
	}
	return errors.Join(errs...)
}

func (w *world) close() error {
	var errs []error
	for _, s := range w.workers {
		errs = append(errs, s.close())
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.nc != nil {
		w.nc.Close()
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	if w.broker != nil {
		w.broker.close()
	}
	for _, s := range w.sites {
		errs = append(errs, s.Close())
	}
	w.spawner.close()
	return errors.Join(errs...)
}

var anyPort = regexp.MustCompile(`:\d{4,5}\b`)

// complaints shows what the workers called errors, each kind once.
func (w *world) complaints(out io.Writer) {
	counts := map[string]int{}
	for n := range w.workers {
		b, err := os.ReadFile(filepath.Join(w.folder, fmt.Sprintf("worker-%d.log", n)))
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			switch {
			case strings.Contains(line, "level=ERROR"):
				_, message, _ := strings.Cut(line, "msg=")
				if rest, ok := strings.CutPrefix(message, `"`); ok {
					message, _, _ = strings.Cut(rest, `"`)
				} else {
					message, _, _ = strings.Cut(message, " ")
				}
				counts["error: "+message]++
			case strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "fatal error:"), strings.HasPrefix(line, "idpsync:"):
				counts[anyPort.ReplaceAllString(line, ":…")]++
			}
		}
	}
	for _, line := range sortedByCount(counts) {
		fmt.Fprintf(out, "  %5d  %s\n", counts[line], line)
	}
}
