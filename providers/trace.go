package providers

import "sync"

// A Check is the verdict of one named check.
type Check struct {
	Step   string `json:"step"`             // verify, map, validate, roles, authorize
	Name   string `json:"name"`             // the reason that the check gives when it fails
	OK     bool   `json:"ok"`               //
	Detail string `json:"detail,omitempty"` // what was compared; personal values redacted
	Spec   string `json:"spec,omitempty"`   // section of the standard that asks for it
}

// A Trace collects the checks of one event in the order in which they were made. Its methods are safe for concurrent
// use, and a nil *Trace records nothing.
type Trace struct {
	mu     sync.Mutex
	checks []Check
}

// Add records a check.
func (t *Trace) Add(c Check) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checks = append(t.checks, c)
}

// Enabled reports whether checks are recorded, to spare the cost of a Detail that nobody reads.
func (t *Trace) Enabled() bool { return t != nil }

// Checks returns a copy of the checks so far.
func (t *Trace) Checks() []Check {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Check(nil), t.checks...)
}
