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

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/cmd/idpsync/serve"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/outage"
	"github.com/idpsync/idpsync/worker/stream"
)

// The files under the data directory.
const (
	sqliteFile  = assemble.DatabaseFile
	sealKeyFile = assemble.SealKeyFile
)

// A deployment is a worker that only forecasts, with the settings that it was made from.
type deployment struct {
	*assemble.Deployment
	cfg config
}

// loginKinds are the names of the kinds whose sources send logins.
func loginKinds() []string { return assemble.Kinds().Carrying(providers.ShapeLogin).Names() }

// issuerReader returns how the issuers of sources are read whose identity providers name themselves.
func issuerReader(ctx context.Context) func(providers.Source) (string, error) {
	return func(s providers.Source) (string, error) {
		kind, _ := assemble.Kinds().Of(s.Kind)
		return kind.Pin.Read(ctx, s, &http.Client{})
	}
}

// parts says what a deployment of this configuration is made of, but for the broker.
func (a *app) parts(c config, log *slog.Logger) assemble.Options {
	return assemble.Options{
		DataDir: c.DataDir, SealKey: c.SealKeyFile, HTTP: httpClient(), Who: operator(),
		Store: store.Options{URL: c.DatabaseURL, URLFile: c.DatabaseURLFile, Log: log, FullSync: c.Durability == "power", MaxConns: 2*worker.DefaultLoops + 4},
		Worker: worker.Config{
			Name: c.workerName(), Version: version, Batch: c.BatchSize, Parallel: c.Concurrency, AckWait: stream.AckWait, ResultSize: c.ResultSize,
			Slots:            filepath.Join(c.DataDir, "crumbs"),
			DurablePasswords: c.DurablePasswords == "accept", WeakHashes: c.WeakHashes == "accept",
			Vouches:     !c.embedded(), // the embedded broker has one user
			LetterQuota: c.LetterQuota, LetterQuotaBytes: int64(c.LetterQuotaBytes), TrustedDomains: c.TrustedDomains,
			LoginBudget: c.LoginsBudget, FeedBudget: c.FeedsBudget, DrainTimeout: c.DrainTimeout,
			Now: a.now, Rand: a.random, Log: log,
		},
	}
}

// running says what a worker that runs is made of. The embedded broker asks for no login if openBroker says so.
func (a *app) running(c config, log *slog.Logger, openBroker bool) (o assemble.Options, err error) {
	around, err := a.around() // first: it may change the clock
	if err != nil {
		return o, err
	}
	o = a.parts(c, log)
	o.Around, o.Store.Timeout, o.Store.Check = around, outage.DatabaseTimeout, true
	if c.embedded() {
		o.Embedded = &stream.EmbeddedOptions{
			DataDir: c.DataDir, Listen: c.NATSListen, Open: openBroker, SyncAlways: c.Durability == "power",
			MaxPayload: int32(c.MaxPayload), Log: log, //nolint:gosec // bounded by the setting
		}
		return o, nil
	}
	broker, err := c.brokerOptions(log)
	o.Broker = &broker
	return o, err
}

// front says how a worker that runs is reached.
func (a *app) front(c config, log *slog.Logger) serve.Options {
	return serve.Options{
		Name: c.workerName(), Version: version,
		HTTPListen: c.HTTPListen, HTTPCert: c.HTTPCert, HTTPKey: c.HTTPKey, AdminListen: c.AdminListen,
		MaxPayload: c.MaxPayload, ReplyInboxes: c.ReplyInboxes,
		Metrics: serve.NewMetrics(version), Now: a.now, Log: log,
	}
}

// deployOffline makes a worker that only forecasts, with a connection to the broker when dead letters are read.
func (a *app) deployOffline(ctx context.Context, c config, log *slog.Logger, withBroker bool) (*deployment, error) {
	o := a.parts(c, log)
	o.Offline = true // a forecast meets no faults: it leaves no trace
	if withBroker {
		broker, err := c.brokerOptions(log)
		if err != nil {
			return nil, err
		}
		o.Broker = &broker
	}
	d, err := assemble.New(ctx, o)
	if stopped, ok := errors.AsType[*assemble.Error](err); ok && stopped.Step == assemble.StepConnect {
		return nil, cannotConnect(err)
	}
	if err != nil {
		return nil, withRemedy(err)
	}
	a.now = d.Clock.Now
	return &deployment{Deployment: d, cfg: c}, nil
}

// openStore opens the database that the configuration names, for verbs that need nothing else.
func (a *app) openStore(ctx context.Context, c config, log *slog.Logger) (*store.Store, error) {
	st, err := assemble.OpenStore(ctx, a.parts(c, log))
	if err != nil {
		return nil, withRemedy(err)
	}
	shared := clock.New(clock.Options{Host: a.now, Database: st.Now, Log: log})
	if err := shared.Compare(ctx); err != nil {
		return nil, errors.Join(kit.Fail(kit.ExitFailure, "check that the database is reachable", "the database's clock cannot be read: %w", err), st.Close())
	}
	a.now = shared.Now // "an hour ago" is the same on every operator's host
	return st, nil
}

const shareSealKeyHint = "give all workers and operators of this database the same file, from another worker or a backup: with --seal-key-file, or in the --data-dir; if it is lost: idpsync seal --replace-lost-key"

// withRemedy adds the exit code and the hint to an error of assembling. Those of the broker bring a hint of their own.
func withRemedy(err error) error {
	stopped, ok := errors.AsType[*assemble.Error](err)
	if !ok {
		return err
	}
	code, hint := kit.ExitFailure, ""
	switch stopped.Step {
	case assemble.StepDataDir:
		hint = "choose another folder with --data-dir"
	case assemble.StepOpenStore:
		hint = "check --database-url and that the database accepts connections"
		if errors.Is(err, store.ErrUnavailable) {
			_, hint = store.Explain(err)
		}
	case assemble.StepUpgrade:
		hint = "nothing of the failed step was kept; remove the cause and run idpsync migrate again"
	case assemble.StepReadSchema:
		hint = "idpsync migrate --database-url …"
	case assemble.StepOldSchema:
		hint = "run: idpsync migrate --database-url …"
	case assemble.StepStreams:
		hint = "run: idpsync migrate --nats-url …"
	case assemble.StepReadSealKey:
		hint = shareSealKeyHint
	case assemble.StepMakeSealKey:
		hint = "restore the file from a backup; without it sealed dead letters stay closed"
	case assemble.StepShareSealKey:
		code, hint = kit.ExitUsage, shareSealKeyHint
	case assemble.StepMigrate, assemble.StepConnect:
	}
	return kit.Fail(code, hint, "%w", err)
}

// brokerOptions says how to reach the broker: the configured one, else the embedded one of the data directory, which
// runs in another process.
func (c config) brokerOptions(log *slog.Logger) (stream.Options, error) {
	o := stream.Options{Name: "idpsync", Log: log}
	if c.embedded() {
		cred, err := stream.ReadCredentials(c.DataDir)
		if err != nil {
			return o, kit.Fail(kit.ExitFailure, "start idpsync run or idpsync dev with the same --data-dir, or name a broker with --nats-url", "there is no broker: %w", err)
		}
		o = cred.Options()
		o.Name, o.Log = "idpsync", log
		return o, nil
	}
	o.User, o.PasswordFile = c.NATSUser, c.NATSPassword
	o.URL, o.Creds, o.NKey, o.Context = c.NATSURL, c.NATSCreds, c.NATSNKey, c.NATSContext
	o.CA, o.Cert, o.Key, o.InboxPrefix, o.Consumers = c.NATSCA, c.NATSCert, c.NATSKey, c.NATSInbox, c.NATSReaders
	o.Domain = c.NATSDomain
	return o, nil
}

// connect reaches the broker that the configuration names, for a verb.
func (a *app) connect(ctx context.Context, c config) (*stream.Conn, error) {
	o, err := c.brokerOptions(a.logger(c))
	if err != nil {
		return nil, err
	}
	conn, err := stream.Connect(ctx, o)
	if err != nil {
		return nil, cannotConnect(err)
	}
	return conn, nil
}

func cannotConnect(err error) error {
	return kit.Fail(kit.ExitFailure, "check --nats-url, or --data-dir for the embedded broker", "%w", err)
}

// embedded reports whether the broker is this process's own.
func (c config) embedded() bool { return c.NATSURL == "" && c.NATSContext == "" }

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
