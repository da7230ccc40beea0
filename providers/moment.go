package providers

import "time"

// How far the clocks of a source and of the broker may lie apart.
const (
	DefaultClockSkew = 2 * time.Minute  // ClockSkew of a [Source] that sets none
	MaxClockSkew     = 10 * time.Minute // the most that a source may set
	MaxAhead         = 15 * time.Minute // beyond its skew; what begins later is refused at once
)

// A Moment is when a token or an assertion is judged: the time at which its event was stored, or a front door received it.
// One that begins later, as the clock of its issuer is ahead, is judged when it begins, less the clock skew of its source:
// its event waits until then. So the moment follows from the stored time and what was signed alone, whenever and however
// often the event is processed, and nobody is let in by a token before it is valid.
//
// It is for the bounds that a token sets itself. Which keys are believed, and how old an event may be, goes by the
// stored time.
type Moment struct {
	stored time.Time
	skew   time.Duration
	begins time.Time // the latest beginning; zero: none was told
	ends   time.Time // the earliest end; zero: none was told
	reason string    // of the check that begins latest
}

// NewMoment returns the moment of an event of a source that was stored at that time.
func NewMoment(stored time.Time, src *Source) Moment { return Moment{stored: stored, skew: src.Skew()} }

// Stored returns the time at which the event was stored.
func (m *Moment) Stored() time.Time { return m.stored }

// Skew returns by how much every bound is widened.
func (m *Moment) Skew() time.Duration { return m.skew }

// At returns the moment itself, as far as beginnings were told.
func (m *Moment) At() time.Time {
	if at := m.begins.Add(-m.skew); at.After(m.stored) {
		return at
	}
	return m.stored
}

// Begins notes from when on something is valid, and the reason to wait for it. It reports false when that is so late that
// the event must not wait for it.
func (m *Moment) Begins(from time.Time, reason string) bool {
	if from.After(m.stored.Add(m.skew + MaxAhead)) {
		return false
	}
	if from.After(m.begins) {
		m.begins, m.reason = from, reason
	}
	return true
}

// Ends notes until when something is valid, that time excluded. It reports false when that was over.
func (m *Moment) Ends(until time.Time) bool {
	if m.ends.IsZero() || until.Before(m.ends) {
		m.ends = until
	}
	return m.stored.Before(until.Add(m.skew))
}

// Reached reports, when all bounds were told and held, whether what is valid from a later time on is over by then.
func (m *Moment) Reached() bool {
	return m.ends.IsZero() || m.At().Before(m.ends.Add(m.skew))
}

// Wait returns the error of an event whose moment has not come by the clock now; nil when it has.
func (m *Moment) Wait(now time.Time) error {
	left := m.At().Sub(now)
	if !m.At().After(m.stored) || left <= 0 {
		return nil
	}
	return &Error{
		Class: ErrUnavailable, Reason: m.reason, RetryAfter: left,
		Message: "the login is valid from " + m.begins.UTC().Format(time.RFC3339) + ", and the event was stored " + m.stored.UTC().Format(time.RFC3339),
		Hint:    "it waits until then; compare the clocks of issuer and broker, and see clock_skew of the source",
	}
}
