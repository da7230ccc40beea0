package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// The dead letters of a tenant and source have a quota, so that whoever floods it leaves room for the others. Beyond it, events
// that proved nothing are answered and counted, as are repeats of one failure by one sender; summaries list where they were
// stored. What somebody proved is kept.

const (
	// letterOverhead is about what the record of a dead letter adds to the event, in bytes.
	letterOverhead = 1536
	// summaryAge is how long a counted event waits for others before a summary lists it.
	summaryAge   = 10 * time.Minute
	summaryLease = 2 * time.Minute
	// uncountInterval is how often the dead letters that are gone are taken off the quotas.
	uncountInterval = 5 * time.Minute
	uncountSlack    = time.Minute // how far clocks may be apart
	uncountChunk    = 1000
)

// keepVerdicts keeps the verdicts of refused events, for whoever has to finish them, and counts their dead letters on their
// quotas. Nothing is told of an event whose verdict is not kept.
func (w *Worker) keepVerdicts(ctx context.Context, endings []*ending) {
	var letters []store.Letter
	var of []*ending
	for _, e := range endings {
		if e.deadLettered() && e.reply == nil && e.origin.Stored() {
			letters, of = append(letters, w.quotaLetter(e.event)), append(of, e)
		}
	}
	if len(letters) == 0 {
		return
	}
	began := time.Now()
	keep, err := w.store.CountLetters(ctx, store.LetterQuota{Letters: int64(w.cfg.LetterQuota), Bytes: w.cfg.LetterQuotaBytes}, letters)
	if err != nil {
		w.log.Warn("verdicts not kept; their events stay where they are", "count", len(letters), "error", err)
		for _, e := range of {
			e.failed = err
		}
		if unavailable(err) {
			w.database.Away(began, err)
		}
		return
	}
	counted := 0
	for i, e := range of {
		if e.counted = !keep[i]; e.counted {
			counted++
		}
	}
	w.metrics.Counted(counted)
}

// quotaLetter is the dead letter of an event as its quota counts it.
func (w *Worker) quotaLetter(e *event) store.Letter {
	r := e.rejection()
	l := store.Letter{
		ID: record.DeadLetterID(e.origin, e.attempt), Attempt: record.AttemptName(e.origin, e.attempt),
		Code: string(r.Code), Reason: r.Reason, Bytes: int64(len(e.body) + letterOverhead), At: w.now(),
		Origin: e.origin.String(), Verdict: e.refusal().Write(), Judged: w.cfg.BrokerNow(), Exempt: e.replay != nil,
	}
	for name, values := range e.header {
		l.Bytes += int64(len(name) + len(strings.Join(values, "")))
	}
	l.Tenant, l.Source = w.declared(e)
	asked := &e.request.Asked
	switch {
	case r.Code == record.CodeInternal, r.Code.Transient(): // not its sender's fault, and each a matter of its own
		l.Identity = l.ID
	case asked.Principal.Kind != "":
		parts := []string{string(asked.Principal.Kind), asked.Principal.Name, asked.Email, asked.IdentityName, record.Fingerprint(e.env.Tenant, e.env.Source, r)}
		if asked.Identity != nil {
			parts = append(parts, asked.Identity.Issuer, asked.Identity.Subject)
		}
		sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
		l.Identity = hex.EncodeToString(sum[:])
	}
	return l
}

// summarize writes summaries of the events that were counted.
func (w *Worker) summarize(ctx context.Context) {
	for ctx.Err() == nil && w.letters.Due() {
		now := w.now()
		rows, err := w.store.ClaimCounted(ctx, record.MaxSummary, now.Add(-summaryAge), now, summaryLease)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("counted events not read", "error", err)
		}
		if err != nil || len(rows) == 0 {
			return
		}
		out, err := w.summary(rows).Write(w.cfg.Sealer)
		if err == nil {
			err = w.letters.Publish(ctx, []record.Outgoing{out})[0]
		}
		if err != nil { // the claim ends, and then the same summary is written
			w.log.Debug("summary not stored; it is tried again", "summary", out.ID, "error", err)
			return
		}
		if err := w.store.DeleteCounted(ctx, rows[0].Summary); err != nil {
			w.log.Warn("counted events not removed; their summary is published again under the same id", "summary", out.ID, "error", err)
			return
		}
	}
}

func (w *Worker) summary(rows []store.Counted) record.Summary {
	s := record.Summary{
		Name: rows[0].Summary, Tenant: rows[0].Tenant, Source: rows[0].Source, Code: record.Code(rows[0].Code), Reasons: map[string]int{},
		First: rows[0].At, Last: rows[0].At, Worker: w.cfg.Name, Version: w.cfg.Version,
	}
	for _, row := range rows {
		s.Attempts = append(s.Attempts, row.Attempt)
		s.Reasons[row.Reason]++
		if row.At.Before(s.First) {
			s.First = row.At
		}
		if row.At.After(s.Last) {
			s.Last = row.At
		}
	}
	return s
}

// refusal is the verdict on a refused event as it is kept.
func (e *event) refusal() record.Refusal {
	if e.kept != nil {
		return *e.kept
	}
	return record.Refusal{Rejection: e.rejection(), Scope: e.scope(), Credential: e.credential()}
}

// recallRefusals finds out which of the events an earlier delivery refused: the directory or a policy may have changed since,
// and its dead letter may be written.
func (w *Worker) recallRefusals(ctx context.Context, events []*event) error {
	var attempts []string
	for _, e := range events {
		attempts = append(attempts, record.AttemptName(e.origin, e.attempt))
	}
	found, err := w.store.Refusals(ctx, attempts)
	if err != nil {
		return fmt.Errorf("look for earlier verdicts: %w", err)
	}
	for i, e := range events {
		row, ok := found[attempts[i]]
		if !ok {
			continue
		}
		kept, err := record.ReadRefusal(row.Verdict)
		if err != nil {
			w.log.Error("verdict of an earlier delivery unreadable; the event waits", "stream_seq", e.origin.Sequence, "error", err)
			e.wait("verdict_unreadable", err)
			continue
		}
		e.kept = &kept
		e.reject(kept.Rejection)
	}
	return nil
}

// forgetVerdicts deletes the verdicts that nobody can ask for any more: neither the event nor an order to replay it is stored.
func (w *Worker) forgetVerdicts(ctx context.Context) {
	oldest, err := w.cfg.Broker.OldestPending(ctx)
	for n := int64(uncountChunk); err == nil && n == uncountChunk; {
		n, err = w.store.Prune(ctx, store.PruneRefused, oldest.Add(-uncountSlack), uncountChunk)
	}
	if err != nil && ctx.Err() == nil {
		w.log.Warn("verdicts of events that are done with not deleted; they will be", "error", err)
	}
}

// uncountLetters takes the dead letters off their quotas that their stream does not hold any more.
func (w *Worker) uncountLetters(ctx context.Context) {
	oldest, err := w.cfg.Broker.OldestDeadLetter(ctx)
	for n := uncountChunk; err == nil && n == uncountChunk; {
		n, err = w.store.UncountLettersBefore(ctx, oldest.Add(-uncountSlack), uncountChunk)
	}
	if err != nil && ctx.Err() == nil {
		w.log.Warn("dead letters that are gone not taken off their quotas; they will be", "error", err)
	}
}
