// Package serve runs an assembled worker with its front doors: the HTTP API, the commands by request-reply, and the admin
// listener with health, readiness and metrics.
package serve

import (
	"context"
	"errors"
	"log/slog"
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

	Metrics *Metrics // those that the worker counts with
	Now     func() time.Time
	Log     *slog.Logger

	// Opened, unless nil, is told the addresses of the listeners, by the flags that they came from.
	Opened func(addresses map[string]string)
}

// A service is a worker with its options.
type service struct {
	*assemble.Deployment
	Options
}

// credentialsInterval is how soon a revocation holds in every worker.
const credentialsInterval = time.Second

// Run serves the front doors and the worker until ctx ends. The doors close first, so that nobody waits for an answer that
// will not come.
func Run(ctx context.Context, d *assemble.Deployment, o Options) error {
	s := &service{d, o}
	doors, err := s.openDoors(ctx)
	if err != nil {
		return err
	}
	if o.Opened != nil {
		o.Opened(doors.addresses)
	}
	o.Log.Info("worker ready", "worker", o.Name, "version", o.Version, "database", d.Store.Kind(), "directory", d.Directories.Current().Revision)
	stopped := make(chan error, 1)
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	go func() { stopped <- d.Worker.Run(working) }()
	following := make(chan struct{})
	go func() {
		defer close(following)
		d.Credentials.Follow(working, credentialsInterval)
	}()

	select {
	case <-ctx.Done():
	case err = <-stopped: // cannot happen before stopWorking, but must not be waited for twice
		return errors.Join(err, doors.close())
	case err = <-doors.failed:
	}
	o.Log.Info("draining; a second signal ends the process at once")
	err = errors.Join(err, doors.close())
	stopWorking()
	err = errors.Join(err, <-stopped)
	<-following
	o.Log.Info("worker stopped")
	return err
}
