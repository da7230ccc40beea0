//go:build !chaos

package main

import "github.com/idpsync/idpsync/worker/assemble"

// around is nothing: what worker/chaostest builds with the tag chaos is the only program with faults in it.
func (*app) around() (assemble.Around, error) { return assemble.Around{}, nil }
