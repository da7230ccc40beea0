package serve

import (
	"context"
	"errors"
)

// doors are the listeners of a running worker.
type doors struct {
	failed    chan error        // a listener that ended by itself
	closes    []func() error    // in the order of opening
	addresses map[string]string // of the listeners, by the flags that they came from
}

// close closes all doors and waits until the requests that were let in have been answered.
func (d *doors) close() error {
	var err error
	for i := len(d.closes) - 1; i >= 0; i-- {
		err = errors.Join(err, d.closes[i]())
	}
	return err
}

// openDoors opens the front doors.
func (s *Service) openDoors(ctx context.Context) error {
	for _, open := range []func(context.Context, *doors) error{s.openRPC, s.openHTTP} {
		if err := open(ctx, s.doors); err != nil {
			return err
		}
	}
	return nil
}
