package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/stream"
)

func newDevCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a demo that explains itself",
		Long: `Run a worker with a demo tenant, an OpenID provider and a SAML identity provider, both in this process, that sign real
tokens and responses. Sample events of every kind and outcome come in through every door; each is shown with what became
of it and why. Then it stays up, prints the lines to try by hand, and shows every further event.

The demo begins anew each time, in the folder dev below --data-dir, and takes free ports where the usual ones are taken.
With --once it handles the samples, prints a summary and exits 0 only if every sample came out as announced.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("log-level") && a.environ["IDPSYNC_LOG_LEVEL"] == "" {
				c.LogLevel = "error" // the view tells the rest
			}
			return a.dev(cmd.Context(), c, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "handle the samples, print a summary, and exit")
	a.addSettings(cmd, areaStore, areaBroker, areaRun)
	return cmd
}

// A demo is the world that dev makes around one worker.
type demo struct {
	app    *app
	cfg    config
	log    *slog.Logger
	deploy *deployment
	issuer *issuer.Issuer
	idp    *idp.IdP
	conn   *stream.Conn     // as a sender and reader outside the worker
	admin  providers.Secret // token of an administrator of acme
	feed   providers.Secret // and of its HR system
	http   string           // address of the HTTP API; "" when it is off
	metric string           // address of the admin listener; "" when it is off

	stops []func() error // in the order of starting
}

func (a *app) dev(ctx context.Context, c config, once bool) (err error) {
	if err := c.forDev(once); err != nil {
		return err
	}
	m, err := a.startDemo(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()

	m.intro()
	failed, err := m.play(ctx, m.scenes())
	if err != nil {
		return err
	}
	if once {
		fmt.Fprintf(a.stdout, "Without --once the demo stays up and prints lines to try by hand.\n")
		if failed > 0 {
			return fail(exitFailure, "run it again with --log-level debug", "%s did not come out as announced", count(failed, "sample"))
		}
		return nil
	}
	if err := m.writeSamples(); err != nil {
		return err
	}
	m.outro()
	return a.tail(ctx, m.conn, stream.Tail, stream.Filter{}, false)
}

// startDemo starts everything: identity providers, broker, worker and front doors.
func (a *app) startDemo(ctx context.Context, c config) (m *demo, err error) {
	m = &demo{app: a, cfg: c, log: a.logger(c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.stop())
		}
	}()
	if err := m.startIssuer(); err != nil {
		return m, err
	}
	if m.idp, err = idp.New(idp.Options{EntityID: demoIDP, Now: a.now}); err != nil {
		return m, err
	}
	if m.deploy, err = a.deploy(ctx, c, m.log, true); err != nil {
		return m, err
	}
	m.stops = append(m.stops, func() error { m.deploy.Close(); return nil })
	if err := m.apply(ctx); err != nil {
		return m, err
	}
	if err := m.credentials(ctx); err != nil {
		return m, err
	}
	if m.conn, err = a.connect(ctx, c); err != nil {
		return m, err
	}
	m.stops = append(m.stops, func() error { m.conn.Close(); return nil })
	return m, m.run(ctx)
}

// run starts the worker and waits until its listeners are open.
func (m *demo) run(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	opened, stopped := make(chan map[string]string, 1), make(chan error, 1)
	go func() { stopped <- m.deploy.run(working, func(addresses map[string]string) { opened <- addresses }) }()
	select {
	case addresses := <-opened:
		m.http, m.metric = addresses["--http-listen"], addresses["--admin-listen"]
		m.stops = append(m.stops, func() error { stop(); return <-stopped })
		return nil
	case err := <-stopped:
		stop()
		return err
	}
}

// stop ends everything, in the opposite order.
func (m *demo) stop() error {
	var err error
	for i := len(m.stops) - 1; i >= 0; i-- {
		err = errors.Join(err, m.stops[i]())
	}
	return err
}

// startIssuer serves the demo's OpenID provider on a free port of the loopback interface.
func (m *demo) startIssuer() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(exitFailure, "", "the demo's OpenID provider cannot listen: %w", err)
	}
	if m.issuer, err = issuer.New(issuer.Options{Now: m.app.now, Rand: m.app.random}); err != nil {
		return errors.Join(err, l.Close())
	}
	m.issuer.SetURL("http://" + l.Addr().String())
	site := &http.Server{Handler: m.issuer, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := site.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("the demo's OpenID provider failed", "error", err)
		}
	}()
	m.stops = append(m.stops, func() error {
		err := site.Close() // whoever still asks for keys is the worker, which has stopped
		<-served
		return err
	})
	return nil
}

// startedAs is how whoever reads the demo's lines can start this program: by its name when that finds it, as go run when
// it was started so.
func startedAs() string {
	path, err := os.Executable()
	if err != nil {
		return "idpsync"
	}
	return startedAt(path)
}
