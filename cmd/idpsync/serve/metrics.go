package serve

import (
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/directory"
)

// maxSources bounds the source label: subjects may name sources that nobody declared.
const maxSources = 500

// Metrics counts what the worker does, for Prometheus. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	seconds  *prometheus.HistogramVec
	staged   *prometheus.CounterVec
	events   *prometheus.CounterVec
	parked   prometheus.Counter
	kept     *prometheus.CounterVec
	refusing *prometheus.GaugeVec
	counted  prometheus.Counter
	paused   prometheus.Gauge
	sourced  *prometheus.CounterVec
	refused  prometheus.Counter
	ends     *prometheus.GaugeVec
	skew     *prometheus.GaugeVec

	mu      sync.Mutex
	sources map[string]struct{}
}

var _ worker.Metrics = (*Metrics)(nil)

// NewMetrics makes counters that say of themselves which version of the program counts.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "idpsync_stage_seconds", Help: "Time that a batch spent in a stage of the pipeline.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{"stage"}),
		staged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idpsync_stage_events_total", Help: "Events that passed a stage of the pipeline.",
		}, []string{"stage"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idpsync_events_total", Help: "Events that were decided; code is that of the error object, empty for none.",
		}, []string{"source", "door", "outcome", "code"}),
		parked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "idpsync_parked_total", Help: "Events that were parked in the store because they had to wait.",
		}),
		kept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idpsync_kept_total", Help: "Results, dead letters and archived events that were kept in the database, as their stream refused them.",
		}, []string{"stream"}),
		refusing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idpsync_stream_refusing", Help: "1 while the stream of results, dead letters or archived events refuses what is published.",
		}, []string{"stream"}),
		counted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "idpsync_over_quota_total", Help: "Refused events beyond the quota of dead letters of their source, which summaries list.",
		}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "idpsync_paused", Help: "1 while the database is away and nothing is pulled.",
		}),
		sourced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idpsync_sourced_events_total", Help: "Events that another stream stored first; time is first when they are judged by that time, else why they are judged at their arrival.",
		}, []string{"time"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "idpsync_rpc_reply_refused_total", Help: "Requests that were not answered because their reply subject is no inbox.",
		}),
		ends: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idpsync_trust_expires_timestamp_seconds",
			Help: "When the first certificate of a SAML source ends, or its metadata (validUntil), whichever is earlier.",
		}, []string{"tenant", "source"}),
		skew: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idpsync_clock_skew_seconds",
			Help: "By how much this host's clock is ahead of the database's or the broker's, as far as a comparison can show.",
		}, []string{"of"}),
		sources: map[string]struct{}{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "idpsync_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, stream := range []string{"archive", "deadletters", "results"} { // alerts see them before anything is refused
		m.Kept(stream, 0)
		m.Refusing(stream, false)
	}
	m.registry.MustRegister(m.seconds, m.staged, m.events, m.parked, m.counted, m.kept, m.refusing, m.paused, m.sourced, m.refused, m.ends, m.skew, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Stage implements worker.Metrics.
func (m *Metrics) Stage(name string, events int, took time.Duration) {
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
	m.staged.WithLabelValues(name).Add(float64(events))
}

// Outcome implements worker.Metrics.
func (m *Metrics) Outcome(source, door, outcome, code string) {
	m.events.WithLabelValues(m.source(source), door, outcome, code).Inc()
}

// TrustExpires implements worker.Metrics.
func (m *Metrics) TrustExpires(ends []directory.TrustEnd) {
	m.ends.Reset()
	for _, e := range ends {
		m.ends.WithLabelValues(e.Tenant, e.Source).Set(float64(e.At.Unix()))
	}
}

// ClockSkew implements worker.Metrics.
func (m *Metrics) ClockSkew(of string, ahead time.Duration) {
	m.skew.WithLabelValues(of).Set(ahead.Seconds())
}

// Gatherer is where the counters are read.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// source returns the label of a source: its name, as long as there are not too many.
func (m *Metrics) source(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.sources[name]; ok {
		return name
	}
	if len(m.sources) >= maxSources {
		return "other"
	}
	m.sources[name] = struct{}{}
	return name
}

// Parked implements worker.Metrics.
func (m *Metrics) Parked(events int) { m.parked.Add(float64(events)) }

// Counted implements worker.Metrics.
func (m *Metrics) Counted(events int) { m.counted.Add(float64(events)) }

// Sourced implements worker.Metrics.
func (m *Metrics) Sourced(time string) { m.sourced.WithLabelValues(time).Inc() }

// Kept implements worker.Metrics.
func (m *Metrics) Kept(stream string, messages int) {
	m.kept.WithLabelValues(stream).Add(float64(messages))
}

// Refusing implements worker.Metrics.
func (m *Metrics) Refusing(stream string, refuses bool) {
	m.refusing.WithLabelValues(stream).Set(oneIf(refuses))
}

// replyRefused counts a request that was not answered.
func (m *Metrics) replyRefused() { m.refused.Inc() }

// Paused implements worker.Metrics.
func (m *Metrics) Paused(paused bool) {
	m.paused.Set(oneIf(paused))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
