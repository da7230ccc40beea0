// Package demo shows the whole way from an event to a user: it makes a world around one worker, with identity providers
// that sign real tokens and responses, sends events of every kind and outcome through every door, and says of each what
// became of it and why.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/cmd/idpsync/serve"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/stream"
)

// Options say how a demo is run. All but Checks and Colours is required.
type Options struct {
	DataDir    string // the demo has a folder of its own below it
	NATSListen string // address of the embedded broker; where it is taken, a free port is

	// Worker says what the worker is made of, in the folder and with the address of the broker that the demo chose. Its broker
	// must be embedded, and open to everybody on this machine.
	Worker func(folder, natsListen string) (assemble.Options, error)
	// Front says how it is reached. Where an address is taken, a free port is.
	Front serve.Options
	// Checks are those of a directory file.
	Checks func(context.Context) manifest.Options

	Once    bool // handle the samples and end
	Colours bool // Out shows colours
	Out     io.Writer
	Now     func() time.Time
	Rand    io.Reader
	Log     *slog.Logger

	// Follow shows results as they come, until ctx ends. It is what Run does after the samples.
	Follow func(context.Context, *stream.Conn) error
}

// A Demo is the world around one worker.
type Demo struct {
	o      Options
	folder string
	worker *assemble.Deployment
	issuer *issuer.Issuer
	idp    *idp.IdP
	conn   *stream.Conn     // as a sender and reader outside the worker
	admin  providers.Secret // token of an administrator of acme
	feed   providers.Secret // and of its HR system
	http   string           // address of the HTTP API; "" when it is off
	metric string           // address of the admin listener; "" when it is off

	stops []func() error // in the order of starting
}

// Run starts a demo and sends its samples. Unless it is to be done once, it stays until ctx ends and shows what else comes.
// The error says so if a sample did not come out as announced.
func Run(ctx context.Context, o Options) (err error) {
	m, err := Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()

	m.intro()
	failed, err := m.play(ctx, m.scenes())
	if err != nil {
		return err
	}
	if o.Once {
		fmt.Fprintf(o.Out, "Without --once the demo stays up and prints lines to try by hand.\n")
		if failed > 0 {
			return kit.Fail(kit.ExitFailure, "run it again with --log-level debug", "%s did not come out as announced", kit.Count(failed, "sample"))
		}
		return nil
	}
	if err := m.writeSamples(); err != nil {
		return err
	}
	m.outro()
	return o.Follow(ctx, m.conn)
}

// Start starts everything: identity providers, broker, worker and front doors.
func Start(ctx context.Context, o Options) (m *Demo, err error) {
	m = &Demo{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Stop())
		}
	}()
	if err := m.place(); err != nil {
		return m, err
	}
	if err := m.startIssuer(); err != nil {
		return m, err
	}
	if m.idp, err = idp.New(idp.Options{EntityID: idpEntity, Now: o.Now}); err != nil {
		return m, err
	}
	if err := m.startWorker(ctx); err != nil {
		return m, err
	}
	if err := m.apply(ctx); err != nil {
		return m, err
	}
	if err := m.credentials(ctx); err != nil {
		return m, err
	}
	broker := m.worker.Server.Credentials().Options()
	broker.Name, broker.Log = "idpsync", o.Log
	if m.conn, err = stream.Connect(ctx, broker); err != nil {
		return m, err
	}
	m.stops = append(m.stops, func() error { m.conn.Close(); return nil })
	return m, m.serve(ctx)
}

// place finds a folder and addresses.
func (m *Demo) place() (err error) {
	if m.folder, err = ownFolder(m.o.DataDir); err != nil {
		return err
	}
	for _, listen := range []*string{&m.o.NATSListen, &m.o.Front.HTTPListen, &m.o.Front.AdminListen} {
		if *listen, err = freeAddress(*listen, m.o.Once); err != nil {
			return err
		}
	}
	return nil
}

// startIssuer serves the demo's OpenID provider on a free port of the loopback interface.
func (m *Demo) startIssuer() (err error) {
	if m.issuer, err = issuer.New(issuer.Options{Now: m.o.Now, Rand: m.o.Rand}); err != nil {
		return err
	}
	stop, err := kit.ServeIssuer(m.issuer, nil)
	if err != nil {
		return kit.Fail(kit.ExitFailure, "", "the demo's OpenID provider cannot listen: %w", err)
	}
	m.stops = append(m.stops, stop)
	return nil
}

// startWorker makes the worker, which does not work yet.
func (m *Demo) startWorker(ctx context.Context) error {
	parts, err := m.o.Worker(m.folder, m.o.NATSListen)
	if err != nil {
		return err
	}
	if m.worker, err = assemble.New(ctx, parts); err != nil {
		return err
	}
	m.stops = append(m.stops, func() error { m.worker.Close(); return nil })
	return nil
}

// serve lets the worker work and waits until its listeners are open.
func (m *Demo) serve(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	opened, stopped := make(chan map[string]string, 1), make(chan error, 1)
	front := m.o.Front
	front.Opened = func(addresses map[string]string) { opened <- addresses }
	go func() { stopped <- serve.Run(working, m.worker, front) }()
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

// Stop ends everything, in the opposite order.
func (m *Demo) Stop() error {
	var err error
	for i := len(m.stops) - 1; i >= 0; i-- {
		err = errors.Join(err, m.stops[i]())
	}
	return err
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
