package main

import (
	"fmt"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// A foreignCount counts the messages of a stream that no worker wrote, while they are passed over.
type foreignCount struct {
	app  *app
	what string
	n    int
}

func (f *foreignCount) add(stream.Stored) { f.n++ }

// report says on standard error how many there were, if any.
func (f *foreignCount) report() {
	if f.n > 0 {
		fmt.Fprintf(f.app.stderr, "passed over %d messages among the %s that no worker wrote; idpsync help prove says more\n", f.n, f.what)
	}
}

// forged counts a dead letter that only looks like one, and reports whether it is that. One that names a key which the
// deployment has no more is taken for genuine, and marked by [deadLetter.OtherKey].
func (f *foreignCount) forged(v record.Sealer, m stream.Stored) (forged, otherKey bool) {
	authentic, otherKey := record.Authentic(v, record.Stored(m))
	if !authentic && !otherKey {
		f.add(m)
		return true, false
	}
	return false, otherKey
}
