package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// A verdict is what a run has shown.
type verdict struct {
	out         io.Writer
	unaccounted []string // events that are lost, in whole or in part
	duplicated  []string // events with two effects, or with an effect and a dead letter
	accused     []string // events that are said to have ended a worker, and did not
	other       []string // whatever else is not as it must be
	counts      map[string]int
	proof       *proof.Account
}

func newVerdict(out io.Writer) *verdict { return &verdict{out: out, counts: map[string]int{}} }

func (v *verdict) note(what string, err error) {
	if err != nil {
		v.other = append(v.other, fmt.Sprintf("%s: %v", what, err))
	}
}

// crashedWorker is the reason of a dead letter of an event that ended workers.
const crashedWorker = "crashed_worker"

// A trail is what one event left behind, as tables and streams have it.
type trail struct {
	hash     string // of the ledger row; "" without one
	outcome  string
	user     string
	effects  map[string]string // id of a result that is no rejection -> hash of its body
	refusals map[string]bool   // ids of rejected results
	letters  []letter
}

type letter struct {
	code, reason string
	seq          uint64 // of the event
}

type trails map[string]*trail

// trailOf names an event for its publisher, who knows nothing of scopes.
func trailOf(tenant, source, id string) string {
	return record.EventName(store.EventKey{TenantID: tenant, Source: source, EventID: id})
}

func (t trails) of(key string) *trail {
	if t[key] == nil {
		t[key] = &trail{effects: map[string]string{}, refusals: map[string]bool{}}
	}
	return t[key]
}

// check compares what was published with what is there.
func (v *verdict) check(ctx context.Context, w *world, s *script) error {
	left, err := readTrails(ctx, w)
	if err != nil {
		return err
	}
	users, identities, err := readUsers(ctx, w.db)
	if err != nil {
		return err
	}
	groups := map[string][]*event{}
	var order []string
	for _, e := range s.events {
		if e.acked == 0 {
			continue // never sent, because the script ended
		}
		v.counts["published"] += e.acked
		if groups[e.key()] == nil {
			order = append(order, e.key())
		}
		groups[e.key()] = append(groups[e.key()], e)
	}
	v.counts["events"] = len(order)
	want := map[*person]int{} // users that must be
	first := map[*person]int{}
	for _, key := range order {
		t := left[key]
		if t == nil {
			v.unaccounted = append(v.unaccounted, key+": nothing is known of it")
			continue
		}
		v.judgeEvent(key, groups[key], t, want, first)
		delete(left, key)
	}
	for key := range left {
		v.other = append(v.other, key+": nobody published it")
	}
	v.judgePeople(s, want, first, users, identities)
	return v.judgeRest(ctx, w)
}

func (v *verdict) judgeEvent(key string, all []*event, t *trail, want, first map[*person]int) {
	lost := func(format string, args ...any) {
		v.unaccounted = append(v.unaccounted, key+": "+fmt.Sprintf(format, args...))
	}
	doubled := func(format string, args ...any) {
		v.duplicated = append(v.duplicated, key+": "+fmt.Sprintf(format, args...))
	}
	if len(t.effects) > 1 {
		doubled("%d results", len(t.effects))
	}
	if len(t.letters) > 0 && len(t.refusals) < len(t.letters) {
		lost("%d dead letters and %d rejected results", len(t.letters), len(t.refusals))
	}
	if t.hash != "" && len(t.effects) == 0 {
		lost("an effect without a result")
	}
	if t.hash == "" && len(t.effects) > 0 {
		lost("a result without an effect in the ledger")
	}
	if t.hash != "" {
		v.counts["effects"]++
		for _, e := range all {
			if hex.EncodeToString(e.hash[:]) == t.hash {
				want[e.person]++
				if t.outcome == "created" || t.outcome == "linked" {
					first[e.person]++
				}
			}
		}
	}
	v.counts["dead letters"] += len(t.letters)
	e := all[0]
	for _, l := range t.letters {
		if l.reason == crashedWorker && e.want != poisoned {
			v.accused = append(v.accused, fmt.Sprintf("%s: %v", key, l))
		}
	}
	if len(all) > 1 {
		v.judgeConflict(all, t, lost, doubled)
		return
	}
	switch e.want {
	case effect:
		if t.hash == "" {
			lost("it had no effect; %d rejections, dead letters %v", len(t.refusals), t.letters)
		}
		if t.hash != "" && len(t.refusals)+len(t.letters) > 0 {
			doubled("an effect, %d rejections and dead letters %v", len(t.refusals), t.letters)
		}
	case replayed:
		if t.hash == "" {
			lost("neither it nor its replay had an effect; dead letters %v", t.letters)
		}
		if len(t.letters) > 0 {
			v.counts["replays"]++
		}
	case taken:
		if t.hash == "" && len(t.refusals) == 0 {
			lost("neither an effect nor a rejection")
		}
		if t.hash != "" && len(t.refusals) > 0 {
			doubled("an effect and %d rejections", len(t.refusals))
		}
		if len(t.letters) > 0 {
			doubled("dead letters: %v", t.letters)
		}
		if t.hash == "" {
			v.counts["ordinary rejections"]++
		}
	case rejected, poisoned:
		if t.hash != "" {
			doubled("it had an effect")
		}
		if n := t.deadLettered(e); n < len(e.seqs) {
			lost("it was stored %d times and has %d dead letters, %d rejections", len(e.seqs), n, len(t.refusals))
		}
		for _, l := range t.letters {
			if e.code != "" && l.code != e.code || e.want == poisoned && l.reason != crashedWorker {
				v.other = append(v.other, fmt.Sprintf("%s: dead letter of code %s (%s), want %s", key, l.code, l.reason, e.code))
			}
		}
	}
}

// judgeConflict judges two contents under one id: one of them has the effect, and each sending of the other a dead letter.
func (v *verdict) judgeConflict(all []*event, t *trail, lost, doubled func(string, ...any)) {
	v.counts["conflicts"]++
	if t.hash == "" {
		lost("neither of two contents had an effect; dead letters %v", t.letters)
		return
	}
	for _, l := range t.letters {
		if l.code != "event_id_conflict" {
			v.other = append(v.other, fmt.Sprintf("%s: dead letter %v, want event_id_conflict", all[0].key(), l))
		}
	}
	for _, e := range all {
		deadLettered := t.deadLettered(e)
		if hex.EncodeToString(e.hash[:]) == t.hash {
			if deadLettered > 0 {
				doubled("an effect and %d dead letters of one content", deadLettered)
			}
		} else if deadLettered < len(e.seqs) {
			lost("the other content was stored %d times and has %d dead letters", len(e.seqs), deadLettered)
		}
	}
}

// deadLettered counts the sendings of an event that have a dead letter.
func (t *trail) deadLettered(e *event) int {
	n := 0
	for _, seq := range e.seqs {
		if slices.ContainsFunc(t.letters, func(l letter) bool { return l.seq == seq }) {
			n++
		}
	}
	return n
}

// judgePeople compares the users with those that the effects make.
func (v *verdict) judgePeople(s *script, want, first map[*person]int, users map[string]int, identities map[string]int) {
	for _, p := range s.people {
		key := p.tenant + "/" + p.email
		have := users[key]
		v.counts["users"] += have
		switch {
		case have > 1:
			v.duplicated = append(v.duplicated, fmt.Sprintf("%s: %d users", key, have))
		case have == 1 && want[p] == 0:
			v.duplicated = append(v.duplicated, key+": a user whom no event of the ledger has made")
		case have == 0 && want[p] > 0:
			v.unaccounted = append(v.unaccounted, key+": events had an effect, and there is no user")
		}
		if n := identities[key]; n > 1 {
			v.duplicated = append(v.duplicated, fmt.Sprintf("%s: %d identities", key, n))
		}
		if have == 1 && (first[p] == 0 || first[p] > 2) {
			v.duplicated = append(v.duplicated, fmt.Sprintf("%s: %d events say that they made it", key, first[p]))
		}
		delete(users, key)
	}
	for key := range users {
		v.other = append(v.other, key+": a user of no person")
	}
}

// judgeRest sees to it that nothing is left anywhere.
func (v *verdict) judgeRest(ctx context.Context, w *world) error {
	if w.o.sabotage != "" {
		return nil
	}
	var parked, outbox int
	err := w.db.QueryRowContext(ctx, `select (select count(*) from parked), (select count(*) from outbox)`).Scan(&parked, &outbox)
	if err != nil {
		return err
	}
	rows, err := w.db.QueryContext(ctx, `select worker || ' ' || run || ' ' || event || ' ' || event_id || ' ' || at from in_flight_events`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var marker string
		if err := rows.Scan(&marker); err != nil {
			return err
		}
		v.other = append(v.other, "in-flight marker: "+marker)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	state, err := stream.ReadState(ctx, w.conn)
	if err != nil {
		return err
	}
	for what, n := range map[string]int{"parked": parked, "in the outbox": outbox, "stranded": int(state.Stranded)} {
		if n > 0 {
			v.other = append(v.other, fmt.Sprintf("%d %s", n, what))
		}
	}
	for _, l := range state.Lanes {
		if l.Pending > 0 || l.AckPending > 0 {
			v.other = append(v.other, fmt.Sprintf("lane %s: %d pending, %d unacknowledged", l.Lane, l.Pending, l.AckPending))
		}
	}
	return nil
}

func readTrails(ctx context.Context, w *world) (trails, error) {
	left := trails{}
	rows, err := w.db.QueryContext(ctx, `select tenant_id::text, source, event_id, payload_hash, outcome, coalesce(user_id::text, '') from events`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var tenant, source, id, outcome, user string
		var hash []byte
		if err := rows.Scan(&tenant, &source, &id, &hash, &outcome, &user); err != nil {
			return nil, err
		}
		t := left.of(trailOf(tenant, source, id))
		t.hash, t.outcome, t.user = hex.EncodeToString(hash), outcome, user
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for m, err := range stream.Results(ctx, w.conn, stream.Filter{}) {
		if err != nil {
			return nil, err
		}
		r, err := record.ReadResult(m)
		if err != nil {
			return nil, err
		}
		id, t := r.ID, left.of(trailOf(r.Event.TenantID, r.Event.Source, r.Event.EventID))
		if r.Outcome == record.OutcomeRejected {
			t.refusals[id] = true
			continue
		}
		sum := sha256.Sum256(r.Body)
		body := hex.EncodeToString(sum[:])
		if before, again := t.effects[id]; again && before != body {
			id += " with another body"
		}
		t.effects[id] = body
	}
	seen := map[record.Origin]bool{}
	for m, err := range stream.DeadLetters(ctx, w.conn, stream.Filter{}) {
		if err != nil {
			return nil, err
		}
		d, err := record.ReadDeadLetter(m.Header)
		if err != nil {
			return nil, err
		}
		if seen[d.Origin] {
			continue // the same one again: readers take stream and sequence for its key
		}
		seen[d.Origin] = true
		t := left.of(trailOf(d.Tenant, d.Source, d.EventID))
		t.letters = append(t.letters, letter{string(d.Code), d.Reason, d.Origin.Sequence})
	}
	return left, nil
}

// readUsers counts users, and identities of users, by tenant and address.
func readUsers(ctx context.Context, db *sql.DB) (users, identities map[string]int, err error) {
	users, identities = map[string]int{}, map[string]int{}
	rows, err := db.QueryContext(ctx, `select u.tenant_id::text, u.email,
		(select count(*) from identities i where i.tenant_id = u.tenant_id and i.user_id = u.id) from users u`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var tenant, email string
		var n int
		if err := rows.Scan(&tenant, &email, &n); err != nil {
			return nil, nil, err
		}
		users[tenant+"/"+email]++
		identities[tenant+"/"+email] += n
	}
	return users, identities, rows.Err()
}

// prove asks the product itself, with the list of what was published.
func (v *verdict) prove(ctx context.Context, w *world, s *script) error {
	published := []store.EventKey{}
	for _, e := range s.events {
		if e.acked > 0 {
			published = append(published, store.EventKey{TenantID: e.tenant, Source: e.source, EventID: e.id})
		}
	}
	began := time.Now()
	var err error
	v.proof, err = w.prove(ctx, published)
	fmt.Fprintf(v.out, "proved in %v\n", time.Since(began).Round(100*time.Millisecond))
	return err
}

// judge prints the verdict, and is an error unless it is what the run was to show.
func (v *verdict) judge(o options, w *world) error {
	e := v.proof.Events
	fmt.Fprintf(v.out, "messages sent %d, events %d, effects %d, users %d, dead letters %d, ordinary rejections %d, conflicts %d, replayed %d\n",
		v.counts["published"], v.counts["events"], v.counts["effects"], v.counts["users"], v.counts["dead letters"],
		v.counts["ordinary rejections"], v.counts["conflicts"], v.counts["replays"])
	fmt.Fprintf(v.out, "prove: stored %d = waiting %d + parked %d + effects %d + dead letters %d + repeats %d + sent again %d + untraced %d; expected %d, found %d\n",
		e.Stored, e.Waiting, e.Parked, e.Effects, e.DeadLetters, e.Refused, e.SentAgain, e.Untraced, v.proof.Expected.Events, v.proof.Expected.Found)
	for _, part := range []struct {
		name string
		all  []string
	}{{"unaccounted", v.unaccounted}, {"duplicated", v.duplicated}, {"accused", v.accused}, {"otherwise wrong", v.other}} {
		fmt.Fprintf(v.out, "%s %d\n", part.name, len(part.all))
		slices.Sort(part.all)
		for i, line := range part.all {
			if i == 12 {
				fmt.Fprintf(v.out, "  and %d more\n", len(part.all)-i)
				break
			}
			fmt.Fprintf(v.out, "  %s\n", line)
		}
	}
	fmt.Fprintf(v.out, "prove: unaccounted %d, duplicated %d\n", v.proof.UnaccountedCount, v.proof.DuplicatedCount)
	for i, f := range slices.Concat(v.proof.Unaccounted, v.proof.Duplicated) {
		if i < 12 {
			fmt.Fprintf(v.out, "  %s: %s\n", f.ID, f.What)
		}
	}
	kills := w.tally.kills()
	fmt.Fprintf(v.out, "seed %d, %d kills\n", o.seed, kills)

	byCheck, byProve := len(v.unaccounted)+len(v.duplicated) > 0, !v.proof.Holds()
	switch {
	case o.sabotage != "" && !byCheck:
		return fmt.Errorf("the sabotage %s was not found by the checker", o.sabotage)
	case o.sabotage != "":
		fmt.Fprintf(v.out, "the sabotage %s was found (by prove too: %t)\n", o.sabotage, byProve)
		return nil
	case byCheck || byProve:
		return errors.New("events were lost or duplicated")
	case len(v.accused) > 0:
		return errors.New("events were accused of a crash that they did not cause")
	case len(v.other) > 0:
		return errors.New("something is not as it must be")
	case o.poison && w.tally.counts["kill poison"] > 2:
		return fmt.Errorf("the poison ended %d workers", w.tally.counts["kill poison"])
	case w.tally.counts["prove saw a fault meanwhile"] > 0:
		return errors.New("prove took events under way for lost")
	}
	fmt.Fprintln(v.out, "nothing unaccounted for, nothing duplicated")
	return nil
}
