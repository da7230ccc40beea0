//go:build chaos

package main

import (
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/fault"
)

// around is what a chaos run has asked for: it ends this process at a point, or breaks its worker.
func (a *app) around() (assemble.Around, error) { return fault.FromEnvironment(a.environ) }
