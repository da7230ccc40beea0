package worker

import (
	"fmt"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// rejections is what the log says of rejected events: as anybody can cause as many as they like, one line in a while for each
// code of a declared source. Metrics count all of them.
type rejections struct {
	mu  sync.Mutex
	all map[rejectionKey]*clock.Sparing
}

// A rejectionKey has the tenant and source empty where nobody declared them, so that their number is bounded.
type rejectionKey struct {
	tenant, source string
	code           record.Code
}

// due reports whether a line is due, and how many were left out since the last one.
func (r *rejections) due(key rejectionKey, now time.Time) (others int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[key] == nil {
		if r.all == nil {
			r.all = map[rejectionKey]*clock.Sparing{}
		}
		r.all[key] = &clock.Sparing{}
	}
	return r.all[key].Due(now)
}

// logRejection writes what the log says of a rejection: never a value of the event.
func (w *Worker) logRejection(e *event, r *record.Rejection) {
	tenant, source := w.declared(e)
	others, due := w.rejections.due(rejectionKey{tenant, source, r.Code}, w.now())
	if !due {
		return
	}
	attrs := []any{
		"tenant", e.env.Tenant, "source", e.env.Source, "event_id", e.env.EventID, "door", e.env.Door,
		"code", r.Code, "reason", r.Reason, "others_since", others,
	}
	if e.origin.Stored() {
		attrs = append(attrs, "stream_seq", e.origin.Sequence)
	}
	if r.Cause != nil && r.Code == record.CodeInternal {
		attrs = append(attrs, "error", fmt.Sprint(r.Cause))
	}
	w.log.Info("event rejected", attrs...)
}

// declared returns the tenant and source of an event, each "" when nobody declared it.
func (w *Worker) declared(e *event) (tenant, source string) {
	t := w.directories.Current().Tenant(e.env.Tenant)
	if t == nil {
		return "", ""
	}
	if t.Source(e.env.Source) != nil {
		source = e.env.Source
	}
	return e.env.Tenant, source
}
