package providers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// A token is judged when it was stored, or when it begins; never at the time of processing, and never before it begins.
func TestMoment(t *testing.T) {
	stored := time.Date(2026, time.November, 2, 9, 0, 0, 0, time.UTC)
	const skew = providers.DefaultClockSkew
	for name, c := range map[string]struct {
		skew         time.Duration // of the source; zero: none is set
		begins, ends time.Duration // from when it was stored
		begun, ended bool          // what is said of the two
		at           time.Duration // the moment
		never        bool          // it is over before it begins
	}{
		"in the middle":                      {begins: -time.Minute, ends: time.Minute, begun: true},
		"begins at the end of the skew":      {begins: skew, ends: time.Hour, begun: true},
		"begins a second later":              {begins: skew + time.Second, ends: time.Hour, begun: true, at: time.Second},
		"begins at the last moment":          {begins: skew + providers.MaxAhead, ends: time.Hour, begun: true, at: providers.MaxAhead},
		"begins too late":                    {begins: skew + providers.MaxAhead + time.Nanosecond, ends: time.Hour},
		"begins next year":                   {begins: 365 * 24 * time.Hour, ends: 366 * 24 * time.Hour},
		"ends within the skew":               {begins: -time.Hour, ends: -skew + time.Nanosecond, begun: true},
		"ended at the end of the skew":       {begins: -time.Hour, ends: -skew, begun: true, ended: true},
		"ends before it begins":              {begins: 10 * time.Minute, ends: 6 * time.Minute, begun: true, at: 8 * time.Minute, never: true},
		"ends before it begins, by the skew": {begins: 10 * time.Minute, ends: 6*time.Minute + time.Nanosecond, begun: true, at: 8 * time.Minute},
		"a narrow skew":                      {skew: time.Second, begins: 2 * time.Second, ends: time.Hour, begun: true, at: time.Second},
		"a wide skew":                        {skew: 10 * time.Minute, begins: 10 * time.Minute, ends: time.Hour, begun: true},
		"a skew beyond what may be set":      {skew: time.Hour, begins: -time.Hour, ends: -10 * time.Minute, begun: true, ended: true},
	} {
		m := providers.NewMoment(stored, &providers.Source{ClockSkew: c.skew})
		if got := m.Ends(stored.Add(c.ends)); got == c.ended {
			t.Errorf("%s: not over is %v, want %v", name, got, !c.ended)
		}
		if got := m.Begins(stored.Add(c.begins), "nbf"); got != c.begun {
			t.Errorf("%s: begun is %v, want %v", name, got, c.begun)
		}
		if !c.begun || c.ended {
			continue
		}
		if got := m.At().Sub(stored); got != c.at {
			t.Errorf("%s: it is judged %v after it was stored, want %v", name, got, c.at)
		}
		if got := m.Reached(); got == c.never {
			t.Errorf("%s: reached is %v, want %v", name, got, !c.never)
		}
		for now, left := range map[time.Duration]time.Duration{0: c.at, c.at - time.Nanosecond: min(c.at, time.Nanosecond), c.at: 0, 24 * time.Hour: 0} {
			err := m.Wait(stored.Add(now))
			failure, waits := errors.AsType[*providers.Error](err)
			if waits != (left > 0) || waits && (failure.RetryAfter != left || failure.Reason != "nbf" || !errors.Is(err, providers.ErrUnavailable)) {
				t.Errorf("%s: %v after it was stored the wait is %v, want %v more", name, now, err, left)
			}
		}
	}
}

// What began before says nothing against the latest beginning, in whatever order they are told.
func TestMomentTakesTheNarrowestBounds(t *testing.T) {
	stored := time.Date(2026, time.November, 2, 9, 0, 0, 0, time.UTC)
	m := providers.NewMoment(stored, &providers.Source{})
	for _, minutes := range []int{5, 9, 3} {
		m.Begins(stored.Add(time.Duration(minutes)*time.Minute), "")
		m.Ends(stored.Add(time.Duration(minutes+2) * time.Minute))
	}
	if got := m.At().Sub(stored); got != 7*time.Minute {
		t.Errorf("it is judged %v after it was stored, want 7m, two before the latest beginning", got)
	}
	if m.Reached() {
		t.Error("the moment is reached, want that what ends at 5m is over at 7m with a skew of 2m")
	}
}
