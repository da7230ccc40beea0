package serve

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/gap"
)

// gapInterval is how often broker and database are compared while a worker waits for an operator.
const gapInterval = 2 * time.Second

// belongTogether waits until broker and database fit together: they do, an operator has closed the gap, or has accepted it. It
// reports false when ctx ended first.
//
// The process stays and is not ready. If it ended, a supervisor would start it again and again, and who is called at night
// would find the reason in the log of one of many attempts; and the embedded broker has to be there to be recovered from.
func (s *Service) belongTogether(ctx context.Context) bool {
	told := ""
	tick := time.NewTicker(gapInterval)
	defer tick.Stop()
	for {
		g, err := s.Gap(ctx)
		if err == nil && !g.Found() {
			err = s.Store.Mark(ctx, g.Marks) // before the first event
		}
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			if now := "error"; now != told {
				told = now
				s.Log.Warn("broker and database cannot be compared; trying again", "error", err)
				s.Waits(assemble.Failure{Name: "starting", What: "broker and database cannot be compared", Hint: "see the log; it tries again"})
			}
		case !g.Found():
			if g.Unread != nil {
				s.Log.Warn("results cannot be read, so that a database which was restored from a backup is not noticed; grant it (deploy/nats-server.conf has the permissions)", "error", g.Unread)
			}
			if told != "" {
				s.Log.Info("broker and database fit together; work begins")
			}
			return true
		default:
			if now := g.Text(); now != told {
				told = now
				s.tellGap(g)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// tellGap writes a gap to the log, and into /readyz.
func (s *Service) tellGap(g gap.Gap) {
	for _, f := range g.Findings {
		s.Log.Error("broker and database do not fit together; this worker takes no events", "behind", f.Side, "stream", f.Stream, "what", f.What, "may_be_lost", f.Lost, "last_seen_together", f.Since, "hint", assemble.GapHint)
	}
	s.Waits(assemble.Failure{Name: "gap", What: g.Text(), Hint: assemble.GapHint})
}
