package stream

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// The streams.
const (
	StreamEvents      = "IDPSYNC_EVENTS"
	StreamResults     = "IDPSYNC_RESULTS"
	StreamDeadLetters = "IDPSYNC_DEADLETTERS"
	StreamReplays     = "IDPSYNC_REPLAYS"
	StreamAdvisories  = "IDPSYNC_ADVISORIES"
	StreamArchive     = "IDPSYNC_ARCHIVE" // optional; see [Topology.ArchiveAge]
)

// Settings of the durable consumers.
const (
	// AckWait is how long a message may stay unacknowledged before another worker gets it.
	AckWait = 25 * time.Second
	// MaxDeliver is a backstop far above what the worker itself allows; a message that reaches it is stranded.
	MaxDeliver = 25
	// MaxBatch is the largest batch that [Consumer] takes. It prefetches twice as much, in one request at most.
	MaxBatch = 2048

	maxRequestBatch   = 2 * MaxBatch
	maxRequestExpires = 60 * time.Second
	maxWaiting        = 1024
	// maxAckPending lets 7 workers have sent back as much as they may, beside what they work on. A lane that reaches it
	// stands still.
	maxAckPending = 256 << 10
)

// Topology holds what may differ between deployments. Zero means: keep what is there, or the default when the stream is
// new.
type Topology struct {
	Replicas       int           // of every stream; default 1
	EventsBytes    int64         // limit of IDPSYNC_EVENTS; default 8 GiB
	PerSubject     int64         // events of one source, or one command of a tenant, that may wait there; default 500,000
	ResultsBytes   int64         // limit of IDPSYNC_RESULTS; default 4 GiB
	DeadLetters    int64         // limit of IDPSYNC_DEADLETTERS in bytes; default 4 GiB
	ResultsAge     time.Duration // default 7 days
	DeadLettersAge time.Duration // default 90 days
	MaxMsgSize     int32         // of one event with its headers; default 7/8 of the broker's max_payload, so that its dead letter fits too
	// ArchiveAge is how long IDPSYNC_ARCHIVE keeps events that had their effect; 0 leaves that stream as it is, which may be
	// that there is none.
	ArchiveAge   time.Duration
	ArchiveBytes int64 // its limit; default 8 GiB

	DryRun bool // report what would change, and change nothing
}

// Defaults of [Topology].
const (
	defaultEventsBytes    = 8 << 30
	defaultPerSubject     = 500_000
	defaultResultsBytes   = 4 << 30
	defaultDeadLetters    = 4 << 30
	defaultReplaysBytes   = 64 << 20
	defaultArchiveBytes   = 8 << 30
	defaultAdvisoryBytes  = 256 << 20
	defaultResultsAge     = 7 * 24 * time.Hour
	defaultDeadLettersAge = 90 * 24 * time.Hour
	advisoriesAge         = 30 * 24 * time.Hour
	duplicates            = 2 * time.Hour
	// noDuplicates is the least that the server takes. Its own deduplication is blind to subject and payload, so that
	// one tenant could suppress another's event by guessing its id; the ledger does it instead.
	noDuplicates = 100 * time.Millisecond
)

// EmbeddedTopology returns limits that suit the disk of the data directory: the streams of one embedded broker together
// take at most half of what is free when they are made.
func EmbeddedTopology(dataDir string) Topology {
	free := diskFree(dataDir)
	if free <= 0 {
		return Topology{}
	}
	share := func(part, limit int64) int64 { return max(min(free/part, limit), 64<<20) }
	return Topology{
		EventsBytes:  share(4, defaultEventsBytes),
		ResultsBytes: share(8, defaultResultsBytes),
		DeadLetters:  share(8, defaultDeadLetters),
	}
}

// Ages say how long streams keep messages. Zero is for ever.
type Ages struct {
	Results, DeadLetters time.Duration
	Archive              time.Duration // zero also when there is none
}

// Topology returns the limits that suit the server's disk.
func (s *Server) Topology() Topology { return EmbeddedTopology(s.dataDir) }

// streams returns the table of streams in the order in which they are made. IDPSYNC_ADVISORIES comes first: an advisory
// is lost when nobody listens, so its stream is there before any consumer is.
func (t Topology) streams(maxPayload int64) []jetstream.StreamConfig {
	size := t.MaxMsgSize
	if size <= 0 {
		size = int32(min(max(maxPayload, 8<<10)/8*7, 1<<30)) //nolint:gosec // bounded
	}
	def := func(v, d int64) int64 {
		if v > 0 {
			return v
		}
		return d
	}
	age := func(v, d time.Duration) time.Duration {
		if v > 0 {
			return v
		}
		return d
	}
	replicas := max(t.Replicas, 1)
	return []jetstream.StreamConfig{
		{
			Name:        StreamAdvisories,
			Description: "What the broker says of deliveries that ended without an ack",
			Subjects: []string{
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + StreamEvents + ".>",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + StreamEvents + ".>",
			},
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxBytes: defaultAdvisoryBytes, MaxAge: advisoriesAge, Duplicates: 2 * time.Minute,
			Storage: jetstream.FileStorage, Replicas: replicas, AllowDirect: true,
		},
		{
			Name:        StreamEvents,
			Description: "Events that wait for a worker; full means that the publisher is refused",
			Subjects:    record.Routes().Filters(""),
			Retention:   jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, DenyPurge: true,
			MaxBytes: def(t.EventsBytes, defaultEventsBytes), MaxMsgSize: size,
			// The flood of one source is refused to that source, while the stream still has room for the others.
			MaxMsgsPerSubject: def(t.PerSubject, defaultPerSubject), DiscardNewPerSubject: true,
			Duplicates: noDuplicates,
			Storage:    jetstream.FileStorage, Replicas: replicas,
		},
		{
			Name:        StreamResults,
			Description: "What became of each event",
			Subjects:    []string{record.BranchResults.All()},
			Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxBytes: def(t.ResultsBytes, defaultResultsBytes), MaxAge: age(t.ResultsAge, defaultResultsAge),
			Duplicates: duplicates, AllowDirect: true,
			Storage: jetstream.FileStorage, Replicas: replicas,
		},
		{
			Name:        StreamDeadLetters,
			Description: "Events that could not be processed; full means that more of them are kept in the database",
			Subjects:    []string{record.BranchDeadLetters.All()},
			Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, DenyPurge: true,
			MaxBytes: def(t.DeadLetters, defaultDeadLetters), MaxAge: age(t.DeadLettersAge, defaultDeadLettersAge),
			Duplicates: duplicates, AllowDirect: true,
			Storage: jetstream.FileStorage, Replicas: replicas,
		},
		{
			Name:        StreamReplays,
			Description: "Pointers of operators to dead letters that are to be processed again",
			Subjects:    []string{record.BranchReplays.All()},
			Retention:   jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
			MaxBytes: defaultReplaysBytes, Duplicates: 2 * time.Minute,
			Storage: jetstream.FileStorage, Replicas: replicas,
		},
	}
}

// archive returns the stream of events that had their effect. It drops the oldest: a full archive must not stop anybody, and
// reaches back less far.
func (t Topology) archive() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        StreamArchive,
		Description: "Events that had their effect, sealed, for a database that was restored from a backup",
		Subjects:    []string{record.BranchArchive.All()},
		Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxBytes: defaultArchiveBytes, MaxAge: t.ArchiveAge,
		Duplicates: duplicates, AllowDirect: true,
		Storage: jetstream.FileStorage, Replicas: max(t.Replicas, 1),
	}
	if t.ArchiveBytes > 0 {
		c.MaxBytes = t.ArchiveBytes
	}
	return c
}

// A durable is one row of the table of consumers.
type durable struct {
	stream string
	config jetstream.ConsumerConfig
}

// consumers returns the table of consumers. Filters of one work queue are disjoint and cover all its subjects.
func consumers() []durable {
	row := func(stream, name, description string, filters ...string) durable {
		return durable{stream, jetstream.ConsumerConfig{
			Durable: name, Name: name, Description: description,
			AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
			AckWait: AckWait, MaxDeliver: MaxDeliver, MaxAckPending: maxAckPending, MaxWaiting: maxWaiting,
			MaxRequestBatch: maxRequestBatch, MaxRequestExpires: maxRequestExpires,
			FilterSubjects: filters,
		}}
	}
	return []durable{
		row(StreamEvents, record.LaneLogins, "Logins and commands: answered at once", record.Routes().Filters(record.LaneLogins)...),
		row(StreamEvents, record.LaneFeeds, "Feeds: in bulk", record.Routes().Filters(record.LaneFeeds)...),
		row(StreamReplays, record.LaneReplays, "Replays of dead letters, below the lanes", record.BranchReplays.All()),
	}
}

// laneOf returns the row of a durable consumer.
func laneOf(name string) (durable, bool) {
	all := consumers()
	i := slices.IndexFunc(all, func(d durable) bool { return d.config.Durable == name })
	if i < 0 {
		return durable{}, false
	}
	return all[i], true
}

// filtersOf returns the subjects that a consumer takes, however they are set.
func filtersOf(c jetstream.ConsumerConfig) []string {
	f := slices.Clone(c.FilterSubjects)
	if c.FilterSubject != "" {
		f = append(f, c.FilterSubject)
	}
	slices.Sort(f)
	return f
}
