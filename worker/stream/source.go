package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// Original implements [worker.Broker]: one request to the domain, which needs the permission to publish to
// $JS.<domain>.API.STREAM.MSG.GET.<stream> and no other.
func (b broker) Original(ctx context.Context, domain, stream string, sequence uint64) (record.Stored, error) {
	op := fmt.Sprintf("read %s %d of the domain %s", stream, sequence, domain)
	// Sequences are asked for exactly: the broker answers with no later message.
	ask := fmt.Appendf(nil, `{"seq":%d}`, sequence)
	m, err := getMessage(ctx, b.conn, op, "$JS."+domain+".API.", stream, ask)
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return record.Stored{}, unreached(op, domain, nats.ErrNoResponders)
	case errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeMessageNotFound || refused.ErrorCode == jetstream.JSErrCodeStreamNotFound):
		return record.Stored{}, fmt.Errorf("%w: %w", record.ErrNoMessage, err)
	}
	return m, err
}

func unreached(op, domain string, err error) error {
	return &Error{Op: op, Class: ErrUnreachable, Err: err, Hint: "check that the leaf node of the domain " + domain + " is connected, and that the user may publish to $JS." + domain + ".API"}
}

// sourceTimeout bounds how long a look at the sources of the events waits for a domain.
const sourceTimeout = 3 * time.Second

// minOriginalAge is how long a stream that is sourced must keep its messages, at least: as long as an event may wait for what is
// needed to judge it, by default. What is gone is judged at its arrival.
const minOriginalAge = 24 * time.Hour

// A SourceFault is what keeps the events of a sourced stream from being judged by the time at which they were stored there.
type SourceFault struct {
	Stream string `json:"stream"`
	Domain string `json:"domain"`
	What   string `json:"what"` // in words, about the stream
	Hint   string `json:"hint"`
	// Fatal is false for what may be so for a while only, or is as somebody wants it.
	Fatal bool `json:"fatal"`
}

// String says it in one line.
func (f SourceFault) String() string {
	of := f.Stream
	if f.Domain != "" {
		of += " of the domain " + f.Domain
	}
	return of + " " + f.What + "; " + f.Hint
}

// CheckSources looks at the streams that the stream of events sources from other domains. Those of trusted domains must exist,
// must hold messages first hand, and must keep them until they are judged; else the fault is fatal. A domain that does not
// answer is no fatal fault, nor is one that is not trusted.
func CheckSources(ctx context.Context, c *Conn, trusted []string) ([]SourceFault, error) {
	events, err := c.js.Stream(ctx, StreamEvents)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("read the sources of "+StreamEvents, err)
	}
	sources := events.CachedInfo().Config.Sources
	slices.SortFunc(sources, func(a, b *jetstream.StreamSource) int {
		return cmp.Or(strings.Compare(domainOf(a), domainOf(b)), strings.Compare(a.Name, b.Name))
	})
	sources = slices.CompactFunc(sources, func(a, b *jetstream.StreamSource) bool { return a.Name == b.Name && domainOf(a) == domainOf(b) })
	faults := make([]*SourceFault, len(sources))
	var asking sync.WaitGroup
	for i, s := range sources {
		asking.Go(func() { faults[i] = checkSource(ctx, c, s.Name, domainOf(s), trusted) })
	}
	asking.Wait()
	var all []SourceFault
	for _, f := range faults {
		if f != nil {
			all = append(all, *f)
		}
	}
	return all, nil
}

// checkSource looks at one stream that is sourced.
func checkSource(ctx context.Context, c *Conn, name, domain string, trusted []string) *SourceFault {
	f := &SourceFault{Stream: name, Domain: domain}
	if domain == "" || !slices.Contains(trusted, domain) {
		f.What = "is not trusted to say when it stored an event: its events are judged at their arrival"
		f.Hint = "name its domain in trusted_domains if whoever runs it may be believed"
		if domain == "" {
			f.Hint = "only a stream of another JetStream domain can be trusted"
		}
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	js, err := jetstream.NewWithDomain(c.nc, domain)
	var s jetstream.Stream
	if err == nil {
		s, err = js.Stream(ctx, name)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		f.What, f.Hint, f.Fatal = "does not exist", "make it there, or take it out of the sources of "+StreamEvents, true
		return f
	case err != nil:
		err = unreached("look at the stream", domain, err)
		f.What, f.Hint = "could not be looked at: "+err.Error(), "run idpsync migrate again when the domain can be reached"
		return f
	}
	config := s.CachedInfo().Config
	switch {
	case config.Mirror != nil || len(config.Sources) > 0:
		f.What = "is itself filled from another stream, so that it does not know when an event was stored first"
		f.Hint = "have " + StreamEvents + " source the first stream, or take the domain out of trusted_domains"
	case config.Retention != jetstream.LimitsPolicy:
		f.What = "loses its messages when they are read (retention " + strings.ToLower(config.Retention.String()) + "), before they are judged"
		f.Hint = "make it with the retention limits"
	case config.MaxAge > 0 && config.MaxAge < minOriginalAge:
		f.What = fmt.Sprintf("keeps its messages for %v, which may be less than it takes until they are judged", config.MaxAge)
		f.Hint = fmt.Sprintf("raise its max_age to %v at least", minOriginalAge)
	case config.MaxMsgsPerSubject > 0 && !config.DiscardNewPerSubject:
		f.What = fmt.Sprintf("keeps %d messages of a subject: later ones push out those that are not judged yet", config.MaxMsgsPerSubject)
		f.Hint = "take the limit away, and bound the stream by max_age and max_bytes"
	default:
		return nil
	}
	f.Fatal = true
	return f
}

// domainOf returns the JetStream domain of a source, or "".
func domainOf(s *jetstream.StreamSource) string {
	if s.External == nil {
		return ""
	}
	domain, ok := strings.CutPrefix(s.External.APIPrefix, "$JS.")
	if domain, found := strings.CutSuffix(domain, ".API"); ok && found {
		return domain
	}
	return ""
}
