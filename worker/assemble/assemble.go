// Package assemble is the one place where a worker is put together from store, broker, seal key, directory, policies and
// providers. The command, the tests and the chaos runs all come through here, so that what is tested is what runs.
//
// It takes plain values and knows neither flags nor exit codes: an [Error] says at which [Step] it stopped, and whoever
// asked says what to do about it. [Around] lets tests wrap the parts.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/gap"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/stream"
)

// The files of a deployment that lie in its data directory unless something else is configured.
const (
	DatabaseFile = "idpsync.db"
	SealKeyFile  = "seal.key"
)

// Options say what a deployment is made of.
type Options struct {
	DataDir string        // folder of the embedded database and of the seal key; made when it is needed
	Store   store.Options // with neither URL nor Path: DatabaseFile in DataDir
	SealKey string        // path of the key file; "": SealKeyFile in DataDir, which the first worker of a database makes

	// The broker is either of these two. A deployment that only forecasts needs none.
	Embedded *stream.EmbeddedOptions
	Broker   *stream.Options

	// Worker is how the worker works, without what is assembled here: Open, Broker, Sealer, Unseal and BrokerNow. Rand and Log
	// are those of all parts and required, as is Now: it is the clock of this host, which is corrected by the database's.
	Worker worker.Config
	HTTP   *http.Client // reaches issuers; required
	Who    string       // the audit names who brought old rows up to date

	Offline bool // the worker forecasts and neither publishes nor leaves anything in DataDir for after a crash

	Kinds  providers.Kinds // of sources; default [Kinds]
	Around Around
}

// A Deployment is all that one worker is made of. Close it when the worker has returned.
type Deployment struct {
	Store       *store.Store
	Server      *stream.Server // nil unless the broker is embedded
	Conn        *stream.Conn   // nil when there is no broker
	Clock       *clock.Clock
	Key         *seal.Key
	Credentials *directory.Credentials
	Policies    *policy.Holder
	Directories *directory.Cache
	Worker      *worker.Worker

	log        *slog.Logger
	unfollow   context.CancelFunc // ends the comparing of clocks; nil: it has not begun
	unfollowed chan struct{}      // closed when it has ended
}

// New opens everything that a worker needs, in the order in which one thing needs another, and makes the worker.
func New(ctx context.Context, o Options) (*Deployment, error) {
	d := &Deployment{log: o.Worker.Log}
	if err := d.open(ctx, o); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Deployment) open(ctx context.Context, o Options) (err error) {
	if d.Store, err = OpenStore(ctx, o); err != nil {
		return err
	}
	if d.Store.Kind() == store.Postgres && !o.Offline {
		if err := bringUp(ctx, d.Store, o, true); err != nil {
			return err
		}
	}
	if err := d.openBroker(ctx, o); err != nil {
		return err
	}
	if err := d.openClock(ctx, o); err != nil {
		return err
	}
	if d.Key, err = openSealKey(ctx, d.Store, o); err != nil {
		return err
	}
	o.Worker.Now, o.Worker.BrokerNow = d.Clock.Now, d.Clock.Broker
	return d.makeWorker(ctx, o)
}

// openClock compares the clock of this host with those of database and broker, before anything is judged by it, and from
// then on unless the worker only forecasts.
func (d *Deployment) openClock(ctx context.Context, o Options) error {
	clocks := clock.Options{Host: o.Worker.Now, Database: d.Store.Now, Broker: o.Around.clock(d.brokerClock()), Log: d.log}
	if o.Worker.Metrics != nil {
		clocks.Skew = o.Worker.Metrics.ClockSkew
	}
	d.Clock = clock.New(clocks)
	if err := d.Clock.Compare(ctx); err != nil {
		return stop(StepOpenStore, "the database's clock cannot be read: %w", err)
	}
	if o.Offline {
		return nil
	}
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	d.unfollow, d.unfollowed = end, make(chan struct{})
	go func() {
		defer close(d.unfollowed)
		d.Clock.Follow(following)
	}()
	return nil
}

// openBroker starts the embedded broker, or connects to another one and compares its streams with what this program needs.
func (d *Deployment) openBroker(ctx context.Context, o Options) (err error) {
	switch {
	case o.Embedded != nil:
		if d.Server, err = stream.Embedded(ctx, *o.Embedded); err != nil {
			return err
		}
		if d.Conn, err = stream.Connect(ctx, stream.Options{InProcess: d.Server, Name: "idpsync", Log: d.log}); err != nil {
			return err
		}
		_, err = stream.Migrate(ctx, d.Conn, d.Server.Topology())
		return err
	case o.Broker != nil:
		if d.Conn, err = stream.Connect(ctx, *o.Broker); err != nil {
			return stop(StepConnect, "%w", err)
		}
		if o.Offline { // it reads what is there
			return nil
		}
		return d.compareStreams(ctx, o.Worker.TrustedDomains.Names())
	case o.Offline:
		return nil
	default:
		return errors.New("assemble: a worker that runs needs a broker")
	}
}

func (d *Deployment) compareStreams(ctx context.Context, trusted []string) error {
	differences, err := stream.Compare(ctx, d.Conn)
	if err != nil {
		return stop(StepStreams, "the broker's streams are not as they must be: %w", err)
	}
	var missing []string
	for _, diff := range differences {
		if diff.Missing() {
			missing = append(missing, diff.Object)
			continue
		}
		d.log.Warn("broker differs from what this version would set up; idpsync migrate changes it", "object", diff.Object, "setting", diff.Setting, "have", diff.Have, "want", diff.Want)
	}
	if len(missing) > 0 {
		return stop(StepStreams, "%w: %s", stream.ErrNotMigrated, strings.Join(missing, ", "))
	}
	faults, err := stream.CheckSources(ctx, d.Conn, trusted)
	if err != nil {
		return stop(StepStreams, "the sources of the events cannot be read: %w", err)
	}
	for _, f := range faults {
		d.log.Warn("events of a stream that is sourced are judged at their arrival", "stream", f.Stream, "domain", f.Domain, "why", f.What, "hint", f.Hint)
	}
	return nil
}

// makeWorker loads directory and policies and makes the worker over them.
func (d *Deployment) makeWorker(ctx context.Context, o Options) error {
	builtin, err := policy.Compile(nil, kindNames(o.kinds())...)
	if err != nil {
		return fmt.Errorf("built-in policies: %w", err)
	}
	d.Policies = policy.NewHolder(builtin)
	st := o.Around.store(d.Store)
	cfg := o.Worker
	d.Credentials = directory.NewCredentials(st, cfg.Now, d.log)
	d.Directories = directory.NewCache(st, o.Around.kinds(o.kinds()), providers.Environment{
		Keys: directory.NewKeys(d.Store, d.brokerClock()), Credentials: d.Credentials, HTTP: o.HTTP, Now: cfg.Now, Log: d.log,
	}, d.reloadPolicies)
	if err := d.Directories.Reload(ctx); err != nil {
		return err
	}
	cfg.Broker = o.Around.broker(stream.Broker(d.Conn))
	cfg.Sealer, cfg.Unseal = d.Key, d.Key.OpenText
	cfg.Open = o.Around.open(func(ctx context.Context, lane string) (worker.Consumer, error) {
		return stream.Consumer(ctx, d.Conn, lane, cfg.Batch)
	})
	var publisher worker.Publisher
	if o.Offline {
		cfg.Slots = ""
	} else {
		publisher = o.Around.publisher(stream.Publisher(d.Conn))
		cfg.Archive = stream.HasArchive(ctx, d.Conn)
	}
	d.Worker, err = worker.New(st, publisher, d.Directories, d.Policies, cfg)
	return err
}

// Gap finds out whether broker and database still belong together.
func (d *Deployment) Gap(ctx context.Context) (gap.Gap, error) {
	return gap.Find(ctx, d.Store, gap.Streams(d.Conn))
}

// brokerClock tells the broker's time, or is nil when there is no broker.
func (d *Deployment) brokerClock() func(context.Context) (time.Time, error) {
	if d.Conn == nil {
		return nil
	}
	return func(ctx context.Context) (time.Time, error) { return stream.Clock(ctx, d.Conn) }
}

// reloadPolicies puts the policies of a new directory in force.
func (d *Deployment) reloadPolicies(rows []store.Policy) error {
	files := make([]policy.File, len(rows))
	for i, r := range rows {
		files[i] = policy.File{Name: r.Name, Text: r.Text}
	}
	changed, err := d.Policies.Reload(files)
	if changed && d.Worker != nil { // those of the start are no change
		d.log.Info("policies changed", "files", len(files))
	}
	return err
}

// Close closes what was opened, in the opposite order.
func (d *Deployment) Close() {
	if d.unfollow != nil {
		d.unfollow()
		<-d.unfollowed
	}
	if d.Directories != nil {
		d.Directories.Close()
	}
	if d.Conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.Conn.Drain(ctx); err != nil {
			d.log.Debug("broker connection not drained", "error", err)
		}
		d.Conn.Close()
	}
	if d.Server != nil {
		d.Server.Shutdown()
	}
	if d.Store != nil {
		if err := d.Store.Close(); err != nil {
			d.log.Warn("database not closed cleanly", "error", err)
		}
	}
}

func (o Options) databasePath() string { return filepath.Join(o.DataDir, DatabaseFile) }
