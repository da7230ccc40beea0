package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Report says what [Migrate] did, or would do, to each stream and consumer.
type Report struct {
	Changes []Change
}

// A Change is what was done to one stream or consumer.
type Change struct {
	Kind    string       `json:"kind"` // stream or consumer
	Name    string       `json:"name"` // consumers as stream/consumer
	Action  string       `json:"action"`
	Details []Difference `json:"details,omitempty"`
}

// The actions of a [Change].
const (
	ActionCreated   = "created"
	ActionUpdated   = "updated"
	ActionUnchanged = "unchanged"
)

// Changed reports whether anything was created or updated.
func (r Report) Changed() bool {
	return slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Action != ActionUnchanged })
}

// A Difference is one setting that is not as it must be.
type Difference struct {
	Object  string `json:"object"`  // stream, or stream/consumer
	Setting string `json:"setting"` // in the words of the JetStream API
	Have    string `json:"have"`
	Want    string `json:"want"`
	Hint    string `json:"hint,omitempty"`
}

// Missing reports whether the whole object is not there.
func (d Difference) Missing() bool { return d.Have == missing }

const missing = "missing"

// String returns the difference in one line.
func (d Difference) String() string {
	s := d.Object + ": " + d.Setting + " is " + d.Have + ", must be " + d.Want
	if d.Hint != "" {
		s += "; " + d.Hint
	}
	return s
}

// Migrate makes streams and consumers as the table says. It may run anywhere any number of times, also at the same time:
// what is right already is left alone, and settings that idpsync has no opinion of are kept. A limit below what a stream
// holds is refused with an error of class [ErrBelowFill], because the broker might drop old messages for it. The report
// covers what was done before an error.
func Migrate(ctx context.Context, c *Conn, t Topology) (Report, error) {
	var r Report
	all := t.streams(c.MaxPayload())
	if t.ArchiveAge > 0 {
		all = append(all, t.archive())
	}
	for _, want := range all {
		change, err := migrateStream(ctx, c.js, want, t)
		if err != nil {
			return r, explainMigrate("migrate stream "+want.Name, err)
		}
		r.Changes = append(r.Changes, change)
	}
	for _, want := range consumers() {
		change, err := migrateConsumer(ctx, c.js, want, t.DryRun)
		if err != nil {
			return r, explainMigrate("migrate consumer "+want.stream+"/"+want.config.Durable, err)
		}
		r.Changes = append(r.Changes, change)
	}
	return r, nil
}

// AgesWith returns how long streams would keep messages after [Migrate] with the topology.
func AgesWith(ctx context.Context, c *Conn, t Topology) (Ages, error) {
	var ages Ages
	if have, ok := c.Archive(ctx); ok {
		ages.Archive = have.MaxAge
	}
	if t.ArchiveAge > 0 {
		ages.Archive = t.ArchiveAge
	}
	for _, want := range t.streams(c.MaxPayload()) {
		have, err := c.js.Stream(ctx, want.Name)
		switch {
		case err == nil:
			want = overlayStream(have.CachedInfo().Config, want, t)
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return ages, explainMigrate("read settings of "+want.Name, err)
		}
		switch want.Name {
		case StreamResults:
			ages.Results = want.MaxAge
		case StreamDeadLetters:
			ages.DeadLetters = want.MaxAge
		}
	}
	return ages, nil
}

// Several migrations at once meet at most a few times; each round ends with one of them done.
const migrateRounds = 5

func migrateStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, t Topology) (Change, error) {
	change := Change{Kind: "stream", Name: want.Name}
	var err error
	for range migrateRounds {
		var s jetstream.Stream
		s, err = js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			change.Action = ActionCreated
			if t.DryRun {
				return change, nil
			}
			if _, err = js.CreateStream(ctx, want); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another migration was faster
			}
			return change, err
		}
		if err != nil {
			return change, err
		}
		info := s.CachedInfo()
		next := overlayStream(info.Config, want, t)
		change.Details = streamDifferences(info.Config, next)
		if len(change.Details) == 0 {
			change.Action = ActionUnchanged
			return change, nil
		}
		if next.MaxBytes > 0 && info.State.Bytes > uint64(next.MaxBytes) {
			return change, &Error{
				Op: "migrate stream " + want.Name, Class: ErrBelowFill,
				Err:  fmt.Errorf("it holds %d bytes, the limit would be %d", info.State.Bytes, next.MaxBytes),
				Hint: "let the workers drain it first, or choose a larger limit",
			}
		}
		if err := fitsPerSubject(ctx, s, info.Config, next); err != nil {
			return change, err
		}
		change.Action = ActionUpdated
		if t.DryRun {
			return change, nil
		}
		if _, err = js.UpdateStream(ctx, next); errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		return change, err
	}
	return change, err
}

// fitsPerSubject refuses a lower bound for each subject that a subject is near to. The broker would delete what is beyond it,
// without a word; and events go on coming while it is set.
func fitsPerSubject(ctx context.Context, s jetstream.Stream, have, next jetstream.StreamConfig) error {
	if next.MaxMsgsPerSubject <= 0 || have.MaxMsgsPerSubject > 0 && have.MaxMsgsPerSubject <= next.MaxMsgsPerSubject {
		return nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return err
	}
	fullest, most := "", uint64(0)
	for subject, n := range info.State.Subjects {
		if n > most {
			fullest, most = subject, n
		}
	}
	if 2*most <= uint64(next.MaxMsgsPerSubject) {
		return nil
	}
	return &Error{
		Op: "migrate stream " + next.Name, Class: ErrBelowFill,
		Err:  fmt.Errorf("%d events wait on %s, the limit for each subject would be %d, which is less than twice as many", most, fullest, next.MaxMsgsPerSubject),
		Hint: "let the workers drain it first, or choose a larger limit: the broker deletes what is beyond it",
	}
}

// overlayStream returns have with all that the table demands, and with those limits that t sets explicitly.
func overlayStream(have, want jetstream.StreamConfig, t Topology) jetstream.StreamConfig {
	next := have
	next.Description = want.Description
	next.Subjects = want.Subjects
	next.Discard = want.Discard
	next.DenyPurge = want.DenyPurge || have.DenyPurge // cannot be taken back
	next.Duplicates = want.Duplicates
	next.AllowAtomicPublish = want.AllowAtomicPublish
	next.AllowDirect = want.AllowDirect
	next.Retention = want.Retention
	next.AllowRollup, next.AllowMsgTTL, next.AllowMsgSchedules = false, false, false
	next.MaxMsgs, next.MaxMsgsPerSubject, next.DiscardNewPerSubject = have.MaxMsgs, have.MaxMsgsPerSubject, have.DiscardNewPerSubject
	if want.Name == StreamEvents {
		next.DiscardNewPerSubject = true
		if t.PerSubject > 0 || have.MaxMsgsPerSubject <= 0 {
			next.MaxMsgsPerSubject = want.MaxMsgsPerSubject
		}
	}
	next.NoAck = false
	if t.Replicas > 0 {
		next.Replicas = t.Replicas
	}
	explicit := map[string]int64{StreamEvents: t.EventsBytes, StreamResults: t.ResultsBytes, StreamDeadLetters: t.DeadLetters, StreamArchive: t.ArchiveBytes}
	if explicit[want.Name] > 0 || have.MaxBytes <= 0 {
		next.MaxBytes = want.MaxBytes
	}
	ages := map[string]time.Duration{StreamResults: t.ResultsAge, StreamDeadLetters: t.DeadLettersAge, StreamArchive: t.ArchiveAge}
	if ages[want.Name] > 0 || want.Name != StreamArchive && (have.MaxAge == 0) != (want.MaxAge == 0) {
		next.MaxAge = want.MaxAge
	}
	if want.Name == StreamEvents && (t.MaxMsgSize > 0 || have.MaxMsgSize <= 0) {
		next.MaxMsgSize = want.MaxMsgSize
	}
	return next
}

func migrateConsumer(ctx context.Context, js jetstream.JetStream, want durable, dryRun bool) (Change, error) {
	object := want.stream + "/" + want.config.Durable
	change := Change{Kind: "consumer", Name: object}
	var err error
	for range migrateRounds {
		var have jetstream.Consumer
		have, err = js.Consumer(ctx, want.stream, want.config.Durable)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound), dryRun && errors.Is(err, jetstream.ErrStreamNotFound):
			change.Action = ActionCreated
			if dryRun {
				return change, nil
			}
			if _, err = js.CreateConsumer(ctx, want.stream, want.config); errors.Is(err, jetstream.ErrConsumerExists) {
				continue
			}
			return change, err
		case err != nil:
			return change, err
		}
		info := have.CachedInfo()
		change.Details = consumerDifferences(object, info.Config, want.config)
		if len(change.Details) == 0 {
			change.Action = ActionUnchanged
			return change, nil
		}
		for _, d := range change.Details {
			if d.Setting == "ack_policy" || d.Setting == "deliver_policy" || d.Setting == "max_waiting" {
				return change, &Error{
					Op: "migrate consumer " + object, Err: errors.New(d.String()),
					Hint: "the broker cannot change it: stop the workers, `nats consumer rm " + want.stream + " " + want.config.Durable +
						"` as a user of the broker who may (deploy/nats-server.conf closes it; its messages stay), and run `idpsync migrate` again",
				}
			}
		}
		change.Action = ActionUpdated
		if dryRun {
			return change, nil
		}
		next := info.Config
		next.Description = want.config.Description
		next.AckWait, next.MaxDeliver, next.BackOff = want.config.AckWait, want.config.MaxDeliver, nil
		next.MaxAckPending = want.config.MaxAckPending
		next.MaxRequestBatch, next.MaxRequestExpires, next.MaxRequestMaxBytes = want.config.MaxRequestBatch, want.config.MaxRequestExpires, 0
		next.FilterSubject, next.FilterSubjects = "", want.config.FilterSubjects
		next.HeadersOnly = false
		next.InactiveThreshold = 0
		if _, err = js.UpdateConsumer(ctx, want.stream, next); errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
			continue
		}
		return change, err
	}
	return change, err
}

// Compare says what of the streams and consumers is not as workers need it; nothing differs when it returns none. Limits
// are the deployment's own matter, except that a work queue without any is reported.
func Compare(ctx context.Context, c *Conn) ([]Difference, error) {
	var all []Difference
	for _, want := range (Topology{}).streams(c.MaxPayload()) {
		s, err := c.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			all = append(all, Difference{Object: want.Name, Setting: "stream", Have: missing, Want: "present"})
			continue
		}
		if err != nil {
			return nil, wrap("compare stream "+want.Name, err)
		}
		have := s.CachedInfo().Config
		all = append(all, streamDifferences(have, overlayStream(have, want, Topology{}))...)
	}
	if have, ok := c.Archive(ctx); ok {
		all = append(all, streamDifferences(have, overlayStream(have, Topology{}.archive(), Topology{}))...)
	}
	for _, want := range consumers() {
		object := want.stream + "/" + want.config.Durable
		cons, err := c.js.Consumer(ctx, want.stream, want.config.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			all = append(all, Difference{Object: object, Setting: "consumer", Have: missing, Want: "present"})
			continue
		}
		if err != nil {
			return nil, wrap("compare consumer "+object, err)
		}
		all = append(all, consumerDifferences(object, cons.CachedInfo().Config, want.config)...)
	}
	for i := range all {
		all[i].Hint = hints[ErrNotMigrated]
	}
	return all, nil
}

// diff collects the settings in which two configurations differ.
type diff struct {
	object string
	all    []Difference
}

func (d *diff) add(setting string, have, want any) {
	h, w := show(have), show(want)
	if h != w {
		d.all = append(d.all, Difference{Object: d.object, Setting: setting, Have: h, Want: w})
	}
}

func show(v any) string {
	switch v := v.(type) {
	case []string:
		s := slices.Sorted(slices.Values(v))
		return fmt.Sprint(s)
	case int64:
		return strconv.FormatInt(max(v, 0), 10) // the server says -1 for 0
	default:
		return fmt.Sprint(v)
	}
}

func streamDifferences(have, want jetstream.StreamConfig) []Difference {
	d := diff{object: want.Name}
	d.add("subjects", have.Subjects, want.Subjects)
	d.add("retention", have.Retention, want.Retention)
	d.add("discard", have.Discard, want.Discard)
	d.add("deny_purge", have.DenyPurge, want.DenyPurge)
	d.add("duplicate_window", have.Duplicates, want.Duplicates)
	d.add("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish)
	d.add("allow_direct", have.AllowDirect, want.AllowDirect)
	d.add("allow_rollup_hdrs", have.AllowRollup, want.AllowRollup)
	d.add("allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL)
	d.add("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules)
	d.add("no_ack", have.NoAck, want.NoAck)
	d.add("max_bytes", have.MaxBytes, want.MaxBytes)
	d.add("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	d.add("discard_new_per_subject", have.DiscardNewPerSubject, want.DiscardNewPerSubject)
	d.add("max_age", have.MaxAge, want.MaxAge)
	d.add("max_msg_size", int64(have.MaxMsgSize), int64(want.MaxMsgSize))
	d.add("num_replicas", have.Replicas, want.Replicas)
	return d.all
}

func consumerDifferences(object string, have, want jetstream.ConsumerConfig) []Difference {
	d := diff{object: object}
	d.add("filter_subjects", filtersOf(have), filtersOf(want))
	d.add("ack_policy", have.AckPolicy, want.AckPolicy)
	d.add("deliver_policy", have.DeliverPolicy, want.DeliverPolicy)
	d.add("ack_wait", have.AckWait, want.AckWait)
	d.add("max_deliver", have.MaxDeliver, want.MaxDeliver)
	d.add("backoff", len(have.BackOff), len(want.BackOff))
	d.add("max_ack_pending", have.MaxAckPending, want.MaxAckPending)
	d.add("max_waiting", have.MaxWaiting, want.MaxWaiting)
	d.add("max_batch", have.MaxRequestBatch, want.MaxRequestBatch)
	d.add("max_expires", have.MaxRequestExpires, want.MaxRequestExpires)
	d.add("max_bytes", have.MaxRequestMaxBytes, want.MaxRequestMaxBytes)
	d.add("headers_only", have.HeadersOnly, want.HeadersOnly)
	d.add("inactive_threshold", have.InactiveThreshold, want.InactiveThreshold)
	return d.all
}

func explainMigrate(op string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeStorageExceeded, codeResourcesExceeded, codeAccountResources:
			return &Error{
				Op: op, Class: ErrOptions, Err: err,
				Hint: "the broker or the account has not that much storage: choose smaller limits, or raise max_file_store",
			}
		case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
			return &Error{Op: op, Class: ErrOptions, Err: err, Hint: "enable JetStream for the account (deploy/nats-server.conf)"}
		}
	}
	return wrap(op, err)
}
