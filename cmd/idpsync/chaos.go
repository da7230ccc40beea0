//go:build chaos

package main

import (
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/fault"
)

// around is what a chaos run has asked for: it ends this process at a point, or breaks its worker. It sets the clock wrong, too.
func (a *app) around() (around assemble.Around, err error) {
	if a.now, err = fault.Clock(a.environ, a.now); err != nil {
		return assemble.Around{}, err
	}
	return fault.FromEnvironment(a.environ)
}
