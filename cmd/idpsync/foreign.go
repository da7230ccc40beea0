package main

import (
	"fmt"

	"github.com/idpsync/idpsync/worker/record"
)

// A foreignCount counts the messages of a stream that no worker wrote, while they are passed over.
type foreignCount struct {
	app  *app
	what string
	n    int
}

func (f *foreignCount) add(record.Stored) { f.n++ }

func (f *foreignCount) one() { f.n++ }

// report says on standard error how many there were, if any.
func (f *foreignCount) report() {
	if f.n > 0 {
		fmt.Fprintf(f.app.stderr, "passed over %d messages among the %s that no worker wrote; idpsync help prove says more\n", f.n, f.what)
	}
}
