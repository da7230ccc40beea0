package workertest

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/stream"
)

// Raw calls f with the plain client library, for what no worker would do.
func (d *Deployment) Raw(f func(js jetstream.JetStream) error) {
	d.T.Helper()
	nc, err := nats.Connect(d.server.URL())
	if err != nil {
		d.T.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	defer func() {
		nc.Close()
		<-closed
	}()
	js, err := jetstream.New(nc)
	if err != nil {
		d.T.Fatal(err)
	}
	if err := f(js); err != nil {
		d.T.Fatal(err)
	}
}

// SetAckWait changes the broker's leases on events, for tests with workers in other processes.
func (d *Deployment) SetAckWait(wait time.Duration) {
	d.T.Helper()
	d.Raw(func(js jetstream.JetStream) error {
		for _, lane := range []string{stream.LaneLogins, stream.LaneFeeds} {
			c, err := js.Consumer(d.Ctx, stream.StreamEvents, lane)
			if err != nil {
				return err
			}
			config := c.CachedInfo().Config
			config.AckWait = wait
			if _, err := js.UpdateConsumer(d.Ctx, stream.StreamEvents, config); err != nil {
				return err
			}
		}
		return nil
	})
}

// Exhaust takes the events of a lane and gives them back, so many times, or as often as the broker delivers one event.
func (d *Deployment) Exhaust(lane string, times ...int) {
	d.T.Helper()
	n := stream.MaxDeliver + 1 // at the last request the broker finds that it may not
	if len(times) > 0 {
		n = times[0]
	}
	d.Raw(func(js jetstream.JetStream) error {
		c, err := js.Consumer(d.Ctx, stream.StreamEvents, lane)
		if err != nil {
			return err
		}
		for range n {
			m, err := c.Next(jetstream.FetchMaxWait(time.Second))
			if errors.Is(err, nats.ErrTimeout) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := m.Nak(); err != nil {
				return err
			}
		}
		return nil
	})
}
