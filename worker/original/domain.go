// Package original reads the messages of other JetStream domains that events were copied from, beside whatever else goes on.
package original

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

// Bounds of reading from one domain.
const (
	timeout  = 5 * time.Second
	parallel = 16 // reads at a time
)

// Intervals between the attempts to ask a domain that does not answer.
const (
	minProbe = time.Second
	maxProbe = 30 * time.Second
)

// errAway is the error of what was not read, as the domain did not answer for another just before.
var errAway = errors.New("the JetStream domain that stored the event first did not answer just before")

// Read reads one message of a stream of a domain. That there is no such message or stream, any more, is [record.ErrNoMessage]; any
// other error says nothing about it.
type Read func(ctx context.Context, domain, stream string, sequence uint64) (record.Stored, error)

// A Reading is what is read of one message. Its other fields may be used once Ready is closed.
type Reading struct {
	Ready  <-chan struct{} // shared by all that are read together
	Stored record.Stored
	Err    error
	After  time.Duration // with an error: not worth asking before

	source record.Source
}

// Domains are the domains that are read from, by what [record.DomainHash] makes of their names.
type Domains map[string]*Domain

// New returns the domains of these names.
func New(names []string, read Read, now func() time.Time) Domains {
	all := Domains{}
	for _, name := range names {
		all[record.DomainHash(name)] = &Domain{name: name, read: read, now: now}
	}
	return all
}

// Domain returns the domain that a header of the broker's names, or nil.
func (d Domains) Domain(hash string) *Domain { return d[hash] }

// A Domain reads from one JetStream domain, many messages together, and asks no more for a while when it does not answer. It is
// safe for concurrent use.
type Domain struct {
	name string
	read Read
	now  func() time.Time

	mu       sync.Mutex
	next     []*Reading    // that are read next
	ready    chan struct{} // of next
	reading  bool
	failures int       // in a row
	until    time.Time // nobody is asked before
}

// Name is the name of the domain.
func (d *Domain) Name() string { return d.name }

// Ask has a message read, by a function that beside runs, or in place when that is nil. It is ready at once when the domain did
// not answer just before.
func (d *Domain) Ask(ctx context.Context, source record.Source, beside func(func(context.Context))) *Reading {
	d.mu.Lock()
	if left := d.until.Sub(d.now()); left > 0 {
		d.mu.Unlock()
		ready := make(chan struct{})
		close(ready)
		return &Reading{Ready: ready, Err: errAway, After: left}
	}
	if d.ready == nil {
		d.ready = make(chan struct{})
	}
	r := &Reading{Ready: d.ready, source: source}
	d.next = append(d.next, r)
	begin := !d.reading
	d.reading = true
	d.mu.Unlock()
	switch {
	case begin && beside != nil:
		beside(d.readAll)
	case begin:
		d.readAll(ctx)
	}
	return r
}

// readAll reads until nothing is left to be read.
func (d *Domain) readAll(ctx context.Context) {
	for {
		d.mu.Lock()
		batch, ready := d.next, d.ready
		d.next, d.ready = nil, nil
		probing := d.failures > 0
		d.reading = len(batch) > 0
		d.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if probing { // one of them tells whether the domain answers again
			d.readOne(ctx, batch[0])
			batch = batch[1:]
		}
		d.readTogether(ctx, batch)
		close(ready)
	}
}

func (d *Domain) readTogether(ctx context.Context, batch []*Reading) {
	left := make(chan *Reading, len(batch))
	for _, r := range batch {
		left <- r
	}
	close(left)
	var reading sync.WaitGroup
	for range min(parallel, len(batch)) {
		reading.Go(func() {
			for r := range left {
				d.readOne(ctx, r)
			}
		})
	}
	reading.Wait()
}

// readOne reads one message, unless the domain did not answer for another meanwhile.
func (d *Domain) readOne(ctx context.Context, r *Reading) {
	d.mu.Lock()
	left := d.until.Sub(d.now())
	d.mu.Unlock()
	if left > 0 {
		r.Err, r.After = errAway, left
		return
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.Stored, r.Err = d.read(bounded, d.name, r.source.Stream, r.source.Sequence)
	if ctx.Err() != nil { // says nothing about the domain
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Err == nil || errors.Is(r.Err, record.ErrNoMessage) {
		d.failures, d.until = 0, time.Time{}
		return
	}
	if now := d.now(); !now.Before(d.until) { // those that were asked at the same time count once
		d.until = now.Add(min(maxProbe, minProbe<<min(d.failures, 10)))
		d.failures++
	}
	r.After = d.until.Sub(d.now())
}
