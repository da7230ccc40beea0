package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The bounds of the scenes.
const (
	boundRatio     = 3                // of the p99 beside somebody's trouble to the quiet one
	boundReconnect = 15 * time.Second // after a link has become half open
	boundHandover  = 30 * time.Second // of a login that a worker cut off from its database holds
	boundMemory    = 256 << 20        // of a worker, in bytes
)

// sceneDirectory has a quiet tenant, globex, and one that has all the trouble.
const sceneDirectory = `tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    default_roles: [user]
    roles: [{name: user}, {name: admin}]
    sources:
      - {name: okta, kind: oidc, issuer: STEADY, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user]}
      - {name: hole0, kind: oidc, issuer: HOLE0, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user], commands: true, commands_claim: admin}
      - {name: hole1, kind: oidc, issuer: HOLE1, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user]}
      - {name: hole2, kind: oidc, issuer: HOLE2, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user]}
      - {name: workday, kind: feed, format: user, trust_email: true, domains: [corp.example], grants: [user]}
  - id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: globex
    default_roles: [user]
    roles: [{name: user}]
    sources:
      - {name: okta, kind: oidc, issuer: STEADY, audiences: [idpsync], algorithms: [ES256], domains: [corp.example], grants: [user]}
      - {name: people, kind: feed, format: user, trust_email: true, domains: [corp.example], grants: [user]}
`

type sceneOptions struct {
	scale      float64
	worker     string
	only       string
	reportOnly bool
	keep       bool
	postgres   string
	out        io.Writer
}

// A scene is one sort of trouble, in a deployment of its own.
type scene struct {
	name    string
	workers int
	play    func(ctx context.Context, s *stage) error
}

func scenes() []scene {
	return []scene{
		{"issuer", 1, issuerHangs},
		{"letters", 1, lettersFull},
		{"flood", 1, flood},
		{"avatars", 1, avatars},
		{"bodies", 1, bodies},
		{"link", 2, linkHalfOpen},
		{"database", 2, databaseCut},
	}
}

func sceneNames() []string {
	var names []string
	for _, s := range scenes() {
		names = append(names, s.name)
	}
	return names
}

// runScenes plays the scenes and prints the table. A bound that is broken is an error.
func runScenes(ctx context.Context, args []string) error {
	o := sceneOptions{postgres: os.Getenv("IDPSYNC_TEST_POSTGRES"), out: os.Stdout}
	flags := flag.NewFlagSet("scenes", flag.ExitOnError)
	flags.Float64Var(&o.scale, "scale", 1, "length and number of everything; 0.2 is a short version")
	flags.StringVar(&o.worker, "worker", "", "measure this idpsync program, say of another commit, and not the one of this module")
	flags.StringVar(&o.only, "only", "", "play these scenes only, by comma: "+strings.Join(sceneNames(), ", "))
	flags.BoolVar(&o.reportOnly, "report-only", false, "print the table and judge nothing")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with the logs even when all is well")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.postgres == "" {
		return errors.New("IDPSYNC_TEST_POSTGRES is not set; run make scenes")
	}
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	return inFolder(o.out, o.keep, func(folder string) error { return o.run(ctx, folder, chosen) })
}

func (o sceneOptions) chosen() ([]scene, error) {
	if o.only == "" {
		return scenes(), nil
	}
	var chosen []scene
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.Index(sceneNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("there is no scene %q; choose of %s", name, strings.Join(sceneNames(), ", "))
		}
		chosen = append(chosen, scenes()[i])
	}
	return chosen, nil
}

func (o sceneOptions) run(ctx context.Context, folder string, chosen []scene) error {
	p, err := build(ctx, folder, o.worker)
	if err != nil {
		return err
	}
	t := &table{out: o.out}
	for n, sc := range chosen {
		if err := o.play(ctx, p, filepath.Join(folder, sc.name), n, sc, t); err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
	}
	t.print()
	if broken := t.broken(); len(broken) > 0 && !o.reportOnly {
		return fmt.Errorf("bounds are broken:\n  %s", strings.Join(broken, "\n  "))
	}
	return nil
}

// play plays one scene with a broker, a database and workers of its own.
func (o sceneOptions) play(ctx context.Context, p programs, folder string, n int, sc scene, t *table) (err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	database, remove, err := newDatabase(ctx, o.postgres, fmt.Sprintf("scene_%d", n))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	began := time.Now()
	w, err := newWorld(ctx, options{
		workers: sc.workers, calm: true, plain: true, directory: sceneDirectory, holes: 3, postgres: database, out: o.out,
	}, p, folder)
	if err != nil {
		return errors.Join(err, w.close())
	}
	defer func() { err = errors.Join(err, w.close()) }()
	logins, err := openStream(w)
	if err != nil {
		return err
	}
	s := &stage{world: w, table: t, scale: o.scale, stream: logins.login}
	if err := s.warm(ctx); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	err = sc.play(ctx, s)
	fmt.Fprintf(o.out, "scene %s took %v\n", sc.name, time.Since(began).Round(time.Second))
	w.complaints(o.out)
	return err
}

// newDatabase makes an empty database on a server. The function that it returns removes it again.
func newDatabase(ctx context.Context, server, name string) (at string, remove func() error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", nil, err
	}
	db, err := sql.Open("postgres", server)
	if err != nil {
		return "", nil, err
	}
	if _, err := db.ExecContext(ctx, `create database `+name); err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	u.Path = "/" + name
	return u.String(), func() error {
		_, err := db.ExecContext(context.WithoutCancel(ctx), `drop database `+name+` with (force)`)
		return errors.Join(err, db.Close())
	}, nil
}

// A stage is the deployment in which a scene is played.
type stage struct {
	*world
	table  *table
	scale  float64
	stream door
}

// length is how long something lasts, by the scale, and never less than a least.
func (s *stage) length(full, least time.Duration) time.Duration {
	return max(time.Duration(float64(full)*s.scale), least)
}

func (s *stage) number(full int) int { return max(int(float64(full)*s.scale), 1) }

// warm waits until the workers take logins, and has them see a few.
func (s *stage) warm(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.stream(first, 0); err != nil {
		return fmt.Errorf("the first login of all: %w", err)
	}
	got, err := measure(ctx, s.stream, lasting(3*time.Second))
	return errors.Join(err, got.err)
}

// quiet measures the quiet tenant while nothing else happens. All quiet whiles of a run are one row.
func (s *stage) quiet(ctx context.Context) error {
	got, err := measure(ctx, s.stream, lasting(s.length(20*time.Second, 5*time.Second)))
	s.table.quiet(byStream, got)
	return err
}

// while measures the quiet tenant while something lasts.
func (s *stage) while(ctx context.Context, meanwhile func(context.Context) error) (sample, error) {
	return measure(ctx, s.stream, meanwhile)
}

// setLettersRoom changes how many bytes the stream of dead letters holds, and returns how many it held before.
func (s *stage) setLettersRoom(ctx context.Context, room func(have uint64) int64) (before int64, err error) {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return 0, err
	}
	return limitLetters(ctx, js, room)
}
