// Package serve runs an assembled worker with its front doors: the HTTP API, the commands by request-reply, and the admin
// listener with health, readiness and metrics.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/worker/assemble"
)

// Options say how a worker is reached. Addresses are host:port, or [kit.Off] for no listener.
type Options struct {
	Name, Version string // of this worker, for the log and the broker

	HTTPListen, HTTPCert, HTTPKey string
	AdminListen                   string

	MaxPayload   int      // bytes of a request's body
	ReplyInboxes []string // what the reply subject of a request must begin with

	Metrics *Metrics         // those that the worker counts with
	Now     func() time.Time // the clock of this host
	Log     *slog.Logger

	// Opened, unless nil, is told the addresses of the listeners, by the flags that they came from.
	Opened func(addresses map[string]string)
}

// A Service is a worker with its front doors. From [Open] on its admin listener answers, so that whoever supervises the
// process can tell one that waits from one that hangs.
type Service struct {
	Options
	*assemble.Deployment // nil until it runs

	ended   atomic.Pointer[func() string] // of the deployment
	health  *health
	running context.Context // readiness ends with it
	doors   *doors
}

// credentialsInterval is how soon a revocation holds in every worker.
const credentialsInterval = time.Second

// Open opens the admin listener. Run the service, or close it. ctx is that of Run.
func Open(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		Options: o, health: newHealth(o.Now, o.Log), running: ctx,
		doors: &doors{failed: make(chan error, 4), addresses: map[string]string{}},
	}
	if err := s.openAdmin(ctx, s.doors); err != nil {
		return nil, errors.Join(err, s.doors.close())
	}
	return s, nil
}

// Waits tells /readyz what the start waits for.
func (s *Service) Waits(f assemble.Failure) { s.health.waits(failure(f)) }

// Close ends a service that never ran.
func (s *Service) Close() error { return s.doors.close() }

// Run opens the service, and runs it.
func Run(ctx context.Context, d *assemble.Deployment, o Options) error {
	s, err := Open(ctx, o)
	if err != nil {
		return err
	}
	return s.Run(ctx, d)
}

// Run serves the other front doors and the worker until ctx ends, once broker and database fit together. The doors close first,
// so that nobody waits for an answer that will not come.
func (s *Service) Run(ctx context.Context, d *assemble.Deployment) error {
	s.Deployment = d
	ended := d.Ended
	s.ended.Store(&ended)
	if !s.belongTogether(ctx) {
		return s.doors.close()
	}
	if err := s.openDoors(ctx); err != nil {
		return errors.Join(err, s.doors.close())
	}
	if s.Opened != nil {
		s.Opened(s.doors.addresses)
	}
	s.Log.Info("worker ready", "worker", s.Name, "version", s.Version, "database", d.Store.Kind(), "directory", d.Directories.Current().Revision)
	stopped := make(chan error, 1)
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	go func() { stopped <- d.Worker.Run(working) }()
	var beside sync.WaitGroup
	beside.Go(func() { d.Credentials.Follow(working, credentialsInterval) })
	beside.Go(func() { s.health.follow(working, d.Checks()) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-stopped: // cannot happen before stopWorking, but must not be waited for twice
		stopWorking()
		beside.Wait()
		return errors.Join(err, s.doors.close())
	case err = <-s.doors.failed:
	}
	s.Log.Info("draining; a second signal ends the process at once")
	err = errors.Join(err, s.doors.close())
	stopWorking()
	err = errors.Join(err, <-stopped)
	beside.Wait()
	s.Log.Info("worker stopped")
	return err
}
