package workertest

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// openPlain connects with the plain client library.
func (d *Deployment) openPlain() {
	d.T.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(d.BrokerURL(), nats.Timeout(time.Minute), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		d.T.Fatal(err)
	}
	d.T.Cleanup(func() {
		nc.Close()
		<-closed
	})
	if d.js, err = jetstream.New(nc); err != nil {
		d.T.Fatal(err)
	}
}

// Raw calls f with the plain client library, for what no worker would do.
func (d *Deployment) Raw(f func(js jetstream.JetStream) error) {
	d.T.Helper()
	if err := f(d.js); err != nil {
		d.T.Fatal(err)
	}
}

// SetAckWait changes the broker's leases on events, for tests with workers in other processes.
func (d *Deployment) SetAckWait(wait time.Duration) {
	d.T.Helper()
	for _, lane := range []string{record.LaneLogins, record.LaneFeeds} {
		c, err := d.js.Consumer(d.Ctx, stream.StreamEvents, lane)
		if err != nil {
			d.T.Fatal(err)
		}
		config := c.CachedInfo().Config
		config.AckWait = wait
		if _, err := d.js.UpdateConsumer(d.Ctx, stream.StreamEvents, config); err != nil {
			d.T.Fatal(err)
		}
	}
}

// Exhaust takes the events of a lane and gives them back, so many times, or as often as the broker delivers one event.
func (d *Deployment) Exhaust(lane string, times ...int) {
	d.T.Helper()
	n := stream.MaxDeliver + 1 // at the last request the broker finds that it may not
	if len(times) > 0 {
		n = times[0]
	}
	c, err := d.js.Consumer(d.Ctx, stream.StreamEvents, lane)
	if err != nil {
		d.T.Fatal(err)
	}
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			return
		}
		if err == nil {
			err = m.Nak()
		}
		if err != nil {
			d.T.Fatal(err)
		}
	}
}
