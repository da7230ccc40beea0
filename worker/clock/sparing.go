package clock

import (
	"sync"
	"time"
)

// Sparingly is the least time between two lines of the log about what others can cause as often as they like.
const Sparingly = time.Minute

// A Sparing says when such a line is due. It is safe for concurrent use.
type Sparing struct {
	mu     sync.Mutex
	last   time.Time
	others int
}

// Due reports whether a line may be logged, and how many were not since the last one.
func (s *Sparing) Due(now time.Time) (others int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < Sparingly {
		s.others++
		return 0, false
	}
	others, s.others, s.last = s.others, 0, now
	return others, true
}
