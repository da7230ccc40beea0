package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/stream"
)

// The demo's tenant; the API's own documentation uses this id too.
const (
	demoTenant   = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	demoAudience = "idpsync"
)

//go:embed dev.yaml
var demoDirectory string

func newDevCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a demo that explains itself",
		Long: `Run a worker with a demo tenant and an identity provider in this process that signs real tokens over real HTTP.
Sample events of every outcome go through it; each is announced, and shown with what became of it and why. Then it stays
up, shows every further event, and prints the lines to try by hand.

The demo begins anew each time, in the folder dev below --data-dir. With --once it handles the samples, prints a summary
and exits 0 only if every sample came out as announced.`,
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
	conn   *stream.Conn // as a sender and reader outside the worker
}

func (a *app) dev(ctx context.Context, c config, once bool) (err error) {
	if err := c.forDev(a.environ, once); err != nil {
		return err
	}
	m := &demo{app: a, cfg: c, log: a.logger(c)}
	site, err := m.startIssuer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Shutdown(context.WithoutCancel(ctx))) }()

	if m.deploy, err = a.deploy(ctx, c, m.log, deployOptions{openBroker: true}); err != nil {
		return err
	}
	defer m.deploy.Close()
	if err := m.apply(ctx); err != nil {
		return err
	}
	if m.conn, err = a.connect(ctx, c); err != nil {
		return err
	}
	defer m.conn.Close()

	working, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- m.deploy.run(working, nil) }()
	defer func() {
		stop()
		err = errors.Join(err, <-stopped)
	}()

	m.intro()
	failed, err := m.play(ctx, m.samples())
	if err != nil || once {
		if err == nil && failed > 0 {
			err = fail(exitFailure, "run it again with --log-level debug", "%d samples did not come out as announced", failed)
		}
		return err
	}
	m.outro()
	return a.tail(ctx, m.conn, stream.Tail, stream.Filter{}, false)
}

// forDev makes the settings those of a demo: a fresh folder of its own, and free ports where the usual ones are taken.
func (c *config) forDev(environ map[string]string, once bool) error {
	if !c.embedded() || c.DatabaseURL != "" {
		return fail(exitUsage, "use idpsync run with these", "dev brings its own broker and database")
	}
	c.DataDir = filepath.Join(c.DataDir, "dev")
	if err := freshFolder(c.DataDir); err != nil {
		return err
	}
	for _, listen := range []*string{&c.NATSListen, &c.HTTPListen, &c.AdminListen} {
		if *listen == off {
			continue
		}
		host, _, err := net.SplitHostPort(*listen)
		if err != nil {
			return fail(exitUsage, "give host:port", "%w", err)
		}
		l, err := net.Listen("tcp", *listen)
		if once || err != nil {
			*listen = net.JoinHostPort(host, "0")
		}
		if err == nil {
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// demoMark is the file by which a demo knows a folder as its own, to be emptied.
const demoMark = ".idpsync-dev"

func freshFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(exitFailure, "choose another folder with --data-dir", "%w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, demoMark)); err != nil {
			return fail(exitRefused, "choose another folder with --data-dir", "%s holds something that is not a demo's", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(exitFailure, "choose another folder with --data-dir", "%w", err)
	}
	return os.WriteFile(filepath.Join(dir, demoMark), []byte("idpsync dev empties this folder when it starts\n"), 0o600)
}

// startIssuer serves the demo's OpenID issuer on a free port of the loopback interface.
func (m *demo) startIssuer() (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fail(exitFailure, "", "the demo's identity provider cannot listen: %w", err)
	}
	if m.issuer, err = issuer.New(issuer.Options{Now: m.app.now, Rand: m.app.random}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	m.issuer.SetURL("http://" + l.Addr().String())
	site := &http.Server{Handler: m.issuer, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := site.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("the demo's identity provider failed", "error", err)
		}
	}()
	return site, nil
}

// apply declares the demo's directory, in the way of idpsync apply.
func (m *demo) apply(ctx context.Context) error {
	text := strings.NewReplacer("ISSUER", m.issuer.URL()).Replace(demoDirectory)
	name := filepath.Join(m.cfg.DataDir, "directory.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	declared, err := directory.Parse(name, []byte(text), directory.Options{})
	if err != nil {
		return fmt.Errorf("the demo's directory: %w", err)
	}
	have, err := m.deploy.store.Directory(ctx)
	if err != nil {
		return err
	}
	if _, err := m.deploy.store.ApplyDirectory(ctx, have.Revision, directory.Complete(have, declared.Directory), "dev", m.app.now()); err != nil {
		return err
	}
	return m.deploy.directories.Reload(ctx)
}

func (m *demo) intro() {
	fmt.Fprintf(m.app.stdout, `idpsync dev: a demo of the whole way from a login to a user

  tenant             acme (%s)
  identity provider  %s, in this process; it signs real tokens
  broker             %s
  data               %s

`, demoTenant, m.issuer.URL(), m.deploy.server.URL(), m.cfg.DataDir)
}

// outro prints the lines to try by hand, with the ports and folders of this run.
func (m *demo) outro() {
	data := "--data-dir " + m.cfg.DataDir
	fmt.Fprintf(m.app.stdout, `
Try it by hand, in another terminal:

  who is there        idpsync get users --tenant %[1]s %[2]s
  what went wrong     idpsync dlq list %[2]s
  a login, our tool   idpsync send login %[2]s --tenant %[1]s --source okta --wait %[4]s
  a login, plain      nats --server %[3]s pub idpsync.login.%[1]s.okta "{\"id_token\": \"$(cat %[4]s)\"}"
  results, plain      nats --server %[3]s sub 'idpsync.result.>'

Every further event appears below. Ctrl-C ends the demo.

`, demoTenant, data, m.deploy.server.URL(), filepath.Join(m.cfg.DataDir, "grace.jwt"))
}
