package clock_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
)

// A world has a host and two other clocks, which run alike until they are set.
type world struct {
	elapsed                time.Duration
	host, database, broker time.Duration // ahead of elapsed
	trip                   time.Duration // that a question takes, and the answer the same
	away                   error         // of the database
	log                    bytes.Buffer
	skew                   map[string]time.Duration
}

var start = time.Now()

func (w *world) at(ahead time.Duration) time.Time { return start.Add(w.elapsed + ahead) }

func (w *world) ask(ahead *time.Duration, away *error) clock.Ask {
	return func(context.Context) (time.Time, error) {
		w.elapsed += w.trip
		told := w.at(*ahead).Round(0)
		w.elapsed += w.trip
		return told, *away
	}
}

func newClock(w *world) *clock.Clock {
	w.skew = map[string]time.Duration{}
	var none error
	return clock.New(clock.Options{
		Host:     func() time.Time { return w.at(w.host) },
		Database: w.ask(&w.database, &w.away), Broker: w.ask(&w.broker, &none),
		Log:  slog.New(slog.NewTextHandler(&w.log, nil)),
		Skew: func(of string, ahead time.Duration) { w.skew[of] = ahead },
	})
}

// near fails the test unless got is want, but for what a round trip hides.
func near(t *testing.T, what string, got, want time.Time, by time.Duration) {
	t.Helper()
	if d := got.Round(0).Sub(want.Round(0)).Abs(); d > by {
		t.Errorf("%s: got a time that is %v off, wanted %v at most", what, d, by)
	}
}

func compare(t *testing.T, c *clock.Clock) {
	t.Helper()
	if err := c.Compare(t.Context()); err != nil {
		t.Fatalf("error of Compare: got %v, wanted none", err)
	}
}

func TestTheTimeIsThatOfTheDatabase(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour, "right": 0} {
		w := &world{host: host, broker: time.Minute, trip: 20 * time.Millisecond}
		c := newClock(w)
		near(t, name+", before the first comparison", c.Now(), w.at(host), 0)
		compare(t, c)
		near(t, name+", at once", c.Now(), w.at(0), w.trip)
		near(t, name+", the broker's", c.Broker(), w.at(time.Minute), w.trip)
		w.elapsed += 8 * time.Hour
		near(t, name+", after a while", c.Now(), w.at(0), w.trip)
		if d := (w.skew[clock.Database] - host).Abs(); d > 2*w.trip {
			t.Errorf("skew against the database of a host that is %s: got %v, wanted %v", name, w.skew[clock.Database], host)
		}
		if d := (w.skew[clock.Broker] - host + time.Minute).Abs(); d > 2*w.trip {
			t.Errorf("skew against the broker of a host that is %s: got %v, wanted %v", name, w.skew[clock.Broker], host-time.Minute)
		}
	}
}

// A slow answer does not move the time, and a clock that was set does.
func TestAComparisonMovesTheTimeByWhatItProves(t *testing.T) {
	t.Parallel()
	w := &world{host: time.Hour, trip: time.Millisecond}
	c := newClock(w)
	compare(t, c)
	before := c.Now().Sub(w.at(0))
	w.trip = 3 * time.Second
	compare(t, c)
	if moved := c.Now().Sub(w.at(0)) - before; moved != 0 {
		t.Errorf("move of the time by an answer that took six seconds: got %v, wanted none", moved)
	}
	w.trip = time.Millisecond
	for _, set := range []time.Duration{time.Hour, -2 * time.Hour} {
		w.database += set
		compare(t, c)
		near(t, "after the database's clock was set", c.Now(), w.at(w.database), 3*w.trip)
	}
	if n := strings.Count(w.log.String(), "not where it was expected"); n != 2 {
		t.Errorf("warnings of a clock that was set: got %d, wanted 2, in %s", n, w.log.String())
	}
}

func TestTheTimeGoesOnWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w := &world{host: -time.Hour}
	c := newClock(w)
	compare(t, c)
	w.away = errors.New("away")
	w.elapsed += time.Hour
	if err := c.Compare(t.Context()); !errors.Is(err, w.away) {
		t.Errorf("error of Compare while the database is away: got %v, wanted %v", err, w.away)
	}
	near(t, "while the database is away", c.Now(), w.at(0), 0)
}

func TestADifferenceIsLoggedOncePerChange(t *testing.T) {
	t.Parallel()
	w := &world{}
	c := newClock(w)
	for _, host := range []time.Duration{0, time.Second, time.Hour, time.Hour + time.Second, 2 * time.Hour, 2 * time.Hour, 0, 0} {
		w.host = host
		for range 3 {
			compare(t, c)
		}
	}
	log := w.log.String()
	if n := strings.Count(log, "of the database differ"); n != 2 {
		t.Errorf("warnings of a difference from the database: got %d, wanted 2, in %s", n, log)
	}
	if n := strings.Count(log, "of the database agree again"); n != 1 {
		t.Errorf("words that the clocks agree again: got %d, wanted 1, in %s", n, log)
	}
}
