package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/stream"
)

// kinds is the list of providers: one line for each kind of source.
func kinds() providers.Kinds {
	return providers.Kinds{
		oidc.Kind(),
		saml.Kind(),
		feed.Kind(),
		command.Kind(),
	}
}

// loginKinds are the names of the kinds whose sources send logins.
func loginKinds() []string { return kinds().Carrying(providers.ShapeLogin).Names() }

// issuerReader returns how the issuers of sources are read whose identity providers name themselves.
func issuerReader(ctx context.Context) func(providers.Source) (string, error) {
	return func(s providers.Source) (string, error) {
		kind, _ := kinds().Of(s.Kind)
		return kind.Pin.Read(ctx, s, &http.Client{})
	}
}

// sqliteFile is the embedded database under the data directory.
const sqliteFile = "idpsync.db"

// openStore opens the database that the configuration names. The embedded one is made and brought up to date; for
// PostgreSQL that is the work of migrate, as an older worker may still be using the schema.
func (a *app) openStore(ctx context.Context, c config, log *slog.Logger) (*store.Store, error) {
	o := store.Options{URL: c.DatabaseURL, Log: log, FullSync: c.Durability == "power", MaxConns: 2*worker.DefaultLoops + 4}
	if o.URL == "" {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, fail(exitFailure, "choose another folder with --data-dir", "the data directory cannot be made: %w", err)
		}
		o.Path = filepath.Join(c.DataDir, sqliteFile)
	}
	st, err := store.Open(ctx, o)
	if err != nil {
		return nil, fail(exitFailure, "check --database-url and that the database accepts connections", "the database cannot be opened: %w", err)
	}
	if st.Kind() == store.SQLite {
		done, err := st.Migrate(ctx)
		if err != nil {
			return nil, errors.Join(fail(exitFailure, "", "the database cannot be brought up to date: %w", err), st.Close())
		}
		if err := a.bringUp(ctx, st, log, len(done.Applied) > 0); err != nil {
			return nil, errors.Join(err, st.Close())
		}
		return st, nil
	}
	have, want, err := st.SchemaVersion(ctx)
	switch {
	case err != nil:
		err = fail(exitFailure, "idpsync migrate --database-url …", "the database's schema cannot be read: %w", err)
	case have < want:
		err = fail(exitFailure, "run: idpsync migrate --database-url …", "the database has schema %d and this program needs %d", have, want)
	case have > want:
		log.Warn("the database has a newer schema than this program knows; upgrade it soon", "have", have, "want", want)
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// bringUp does what idpsync migrate does for rows that an earlier version has written, without asking any identity provider.
// A worker does it when it starts, as another may have written some since the schema was migrated. With standing it also tells
// what an operator has yet to settle, which not every command has to.
func (a *app) bringUp(ctx context.Context, st *store.Store, log *slog.Logger, standing bool) error {
	report, err := a.upgrade(ctx, st, func(s providers.Source) (string, error) {
		if kind, _ := kinds().Of(s.Kind); kind.Pin.URL(s) != "" {
			return "", errors.New("its metadata are read by idpsync migrate and idpsync apply alone")
		}
		return issuerReader(ctx)(s)
	})
	for _, r := range report {
		if r.Standing && !standing {
			continue
		}
		log.Warn("the database was brought up to date", "tenant", r.Tenant, "what", r.What, "hint", r.Hint)
	}
	return err
}

// brokerOptions says how to reach the broker: the configured one, else the embedded one of the data directory, which
// runs in another process.
func (c config) brokerOptions(log *slog.Logger) (stream.Options, error) {
	o := stream.Options{Name: "idpsync", Log: log}
	if c.NATSURL == "" && c.NATSContext == "" {
		cred, err := stream.ReadCredentials(c.DataDir)
		if err != nil {
			return o, fail(exitFailure, "start idpsync run or idpsync dev with the same --data-dir, or name a broker with --nats-url", "there is no broker: %w", err)
		}
		o = cred.Options()
		o.Name, o.Log = "idpsync", log
		return o, nil
	}
	o.URL, o.Creds, o.NKey, o.Context = c.NATSURL, c.NATSCreds, c.NATSNKey, c.NATSContext
	o.CA, o.Cert, o.Key, o.InboxPrefix, o.Consumers = c.NATSCA, c.NATSCert, c.NATSKey, c.NATSInbox, c.NATSReaders
	return o, nil
}

// embedded reports whether the broker is this process's own.
func (c config) embedded() bool { return c.NATSURL == "" && c.NATSContext == "" }

// A deployment is all that a running worker is made of. Close it when the worker has returned.
type deployment struct {
	cfg         config
	log         *slog.Logger
	store       *store.Store
	server      *stream.Server // nil when the broker is external
	conn        *stream.Conn
	key         *seal.Key
	env         providers.Environment
	credentials *directory.Credentials
	policies    *policy.Holder
	directories *directory.Cache
	metrics     *metrics
	worker      *worker.Worker
}

// deployOptions are what other verbs do otherwise than run.
type deployOptions struct {
	openBroker bool // the embedded broker asks for no login
	offline    bool // the worker forecasts only
}

// deploy opens everything that a worker needs, in the order in which one thing needs another.
func (a *app) deploy(ctx context.Context, c config, log *slog.Logger, o deployOptions) (d *deployment, err error) {
	d = &deployment{cfg: c, log: log}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.store, err = a.openStore(ctx, c, log); err != nil {
		return d, err
	}
	if d.store.Kind() == store.Postgres {
		if err = a.bringUp(ctx, d.store, log, true); err != nil {
			return d, err
		}
	}
	if err = d.openBroker(ctx, o.openBroker); err != nil {
		return d, err
	}
	return d, a.buildWorker(ctx, d, o)
}

// deployOffline opens what forecasts need: store, directory, policies and key, and the broker when dead letters are read.
func (a *app) deployOffline(ctx context.Context, c config, log *slog.Logger, broker bool) (d *deployment, err error) {
	d = &deployment{cfg: c, log: log}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.store, err = a.openStore(ctx, c, log); err != nil {
		return d, err
	}
	if broker {
		if d.conn, err = a.connect(ctx, c); err != nil {
			return d, err
		}
	}
	return d, a.buildWorker(ctx, d, deployOptions{offline: true})
}

// buildWorker makes the worker over an open store and, unless it only forecasts, an open broker.
func (a *app) buildWorker(ctx context.Context, d *deployment, o deployOptions) (err error) {
	c, log := d.cfg, d.log
	if err := a.openSealKey(ctx, d); err != nil {
		return err
	}
	builtin, err := policy.Compile(nil)
	if err != nil {
		return fmt.Errorf("built-in policies: %w", err)
	}
	d.policies = policy.NewHolder(builtin)
	d.credentials = directory.NewCredentials(d.store, a.now, log)
	d.env = providers.Environment{
		Keys: directory.NewKeys(d.store, d.brokerClock()), Credentials: d.credentials, HTTP: httpClient(), Now: a.now, Log: log,
	}
	d.directories = directory.NewCache(d.store, kinds(), d.env, d.reloadPolicies)
	if err := d.directories.Reload(ctx); err != nil {
		return err
	}
	d.metrics = newMetrics()
	wc := worker.Config{
		Name: c.workerName(), Version: version, Batch: c.BatchSize, Parallel: c.Concurrency, AckWait: stream.AckWait,
		Unseal: d.key.OpenText, DurablePasswords: c.DurablePasswords == "accept", WeakHashes: c.WeakHashes == "accept",
		Vouches:     !c.embedded(), // the embedded broker has one user
		LoginBudget: c.LoginsBudget, FeedBudget: c.FeedsBudget, DrainTimeout: c.DrainTimeout,
		Now: a.now, Rand: a.random, Log: log, Metrics: d.metrics, Broker: stream.Broker(d.conn), Sealer: d.key,
		Open: func(ctx context.Context, lane string) (worker.Consumer, error) {
			return stream.Consumer(ctx, d.conn, lane, c.BatchSize)
		},
	}
	var publisher worker.Publisher
	if !o.offline {
		wc.Crumbs = filepath.Join(c.DataDir, "crumbs")
		publisher = stream.Publisher(d.conn)
	}
	d.worker, err = worker.New(d.store, publisher, d.directories, d.policies, wc)
	return err
}

// brokerClock tells the broker's time, or is nil when there is no broker.
func (d *deployment) brokerClock() func(context.Context) (time.Time, error) {
	if d.conn == nil {
		return nil
	}
	return func(ctx context.Context) (time.Time, error) { return stream.Clock(ctx, d.conn) }
}

// reloadPolicies puts the policies of a new directory in force.
func (d *deployment) reloadPolicies(rows []store.Policy) error {
	files := make([]policy.File, len(rows))
	for i, r := range rows {
		files[i] = policy.File{Name: r.Name, Text: r.Text}
	}
	changed, err := d.policies.Reload(files)
	if changed && d.worker != nil { // those of the start are no change
		d.log.Info("policies changed", "files", len(files))
	}
	return err
}

// openBroker starts the embedded broker, or connects to the configured one and compares its streams with what this
// program needs.
func (d *deployment) openBroker(ctx context.Context, open bool) error {
	if d.cfg.embedded() {
		server, err := stream.Embedded(ctx, stream.EmbeddedOptions{
			DataDir: d.cfg.DataDir, Listen: d.cfg.NATSListen, Open: open, SyncAlways: d.cfg.Durability == "power",
			MaxPayload: int32(d.cfg.MaxPayload), Log: d.log, //nolint:gosec // bounded by the setting
		})
		if err != nil {
			return err
		}
		d.server = server
		if d.conn, err = stream.Connect(ctx, stream.Options{InProcess: server, Name: "idpsync", Log: d.log}); err != nil {
			return err
		}
		_, err = stream.Migrate(ctx, d.conn, server.Topology())
		return err
	}
	o, err := d.cfg.brokerOptions(d.log)
	if err != nil {
		return err
	}
	if d.conn, err = stream.Connect(ctx, o); err != nil {
		return err
	}
	differences, err := stream.Compare(ctx, d.conn)
	if err != nil {
		return fail(exitFailure, "run: idpsync migrate --nats-url …", "the broker's streams are not as they must be: %w", err)
	}
	for _, diff := range differences {
		d.log.Warn("broker differs from what this version would set up; idpsync migrate changes it", "object", diff.Object, "setting", diff.Setting, "have", diff.Have, "want", diff.Want)
	}
	return nil
}

// sealKeyFile is where a deployment's key lies when none is configured.
const sealKeyFile = "seal.key"

// openSealKey reads the key that seals and signs dead letters and opens sealed passwords. The first worker of a database
// makes it, and all that come later must hold it: what one of them puts among the dead letters, any other must be able to
// replay. A key file that begins with a new key and keeps the old one changes it.
func (a *app) openSealKey(ctx context.Context, d *deployment) error {
	shared, err := d.store.SealKey(ctx)
	if err != nil {
		return fmt.Errorf("the deployment's seal key: %w", err)
	}
	if d.key, err = a.readSealKey(d.cfg, d.log, shared == ""); err != nil {
		return err
	}
	if shared != d.key.KeyID() && (shared == "" || d.key.Holds(shared)) {
		if shared, err = d.store.SetSealKey(ctx, shared, d.key.KeyID()); err != nil {
			return fmt.Errorf("the deployment's seal key: %w", err)
		}
	}
	if !d.key.Holds(shared) {
		return fail(exitUsage, shareSealKeyHint, "%s does not hold the seal key %s of this deployment", d.cfg.sealKeyPath(), shared)
	}
	return nil
}

const shareSealKeyHint = "give all workers and operators of this database the same file, from another worker or a backup: with --seal-key-file, or in the --data-dir; if it is lost: idpsync seal --replace-lost-key"

// readSealKey reads the key file. It makes one where none is configured, if it may.
func (a *app) readSealKey(c config, log *slog.Logger, mayMake bool) (*seal.Key, error) {
	name := c.sealKeyPath()
	if c.SealKeyFile != "" || !mayMake { // then other workers have it already
		key, err := seal.ReadFile(name)
		if err != nil {
			return nil, fail(exitFailure, shareSealKeyHint, "%w", err)
		}
		warnOfOpenKey(name, log)
		return key, nil
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fail(exitFailure, "choose another folder with --data-dir", "the data directory cannot be made: %w", err)
	}
	key, made, err := seal.EnsureFile(name, a.random)
	if err != nil {
		return nil, fail(exitFailure, "restore the file from a backup; without it sealed dead letters stay closed", "%w", err)
	}
	if made {
		log.Warn("a new seal key was made; keep a copy in a safe place, and give the same one to all workers of the deployment", "file", name, "public_key", key.KeyID())
	}
	warnOfOpenKey(name, log)
	return key, nil
}

// warnOfOpenKey warns when others than its owner may read or write the seal key, which opens every dead letter. A file with
// mode 0440 is how orchestrators mount a secret for a process that is not its owner.
func warnOfOpenKey(name string, log *slog.Logger) {
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 || info.Mode().Perm() == 0o440 {
		return
	}
	log.Warn("the seal key can be read or written by others than its owner; run: chmod 600 on it, or mount it with mode 0400", "file", name, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
}

// Close closes what was opened, in the opposite order.
func (d *deployment) Close() {
	if d.directories != nil {
		d.directories.Close()
	}
	if d.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.conn.Drain(ctx); err != nil {
			d.log.Debug("broker connection not drained", "error", err)
		}
		d.conn.Close()
	}
	if d.server != nil {
		d.server.Shutdown()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.log.Warn("database not closed cleanly", "error", err)
		}
	}
}

// workerName is the configured name, or one that is unique among the processes of a deployment.
func (c config) workerName() string {
	if c.WorkerName != "" {
		return c.WorkerName
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// httpClient is what providers reach issuers with. They add their own limits for hosts, sizes and redirects.
func httpClient() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, MaxConnsPerHost: 2 * runtime.GOMAXPROCS(0),
		},
	}
}
