package stream

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// archiveTimeout bounds the look for the archive, as a user who may not ask for it gets no answer.
const archiveTimeout = 2 * time.Second

// Archive looks for IDPSYNC_ARCHIVE, and returns its settings; false when there is none, or this user may not know of it.
func (c *Conn) Archive(ctx context.Context) (jetstream.StreamConfig, bool) {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, StreamArchive)
	switch {
	case err == nil:
		return s.CachedInfo().Config, true
	case !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, context.Canceled):
		c.log.Warn("the archive cannot be looked for, and counts as none; grant it (deploy/nats-server.conf has the permissions)", "error", wrap("look for "+StreamArchive, err))
	}
	return jetstream.StreamConfig{}, false
}

// HasArchive reports whether there is an archive.
func HasArchive(ctx context.Context, c *Conn) bool {
	_, ok := c.Archive(ctx)
	return ok
}

// Archived returns the archived events that f chooses, oldest first, and ends with the last one that was there when it began.
func Archived(ctx context.Context, c *Conn, f Filter) iter.Seq2[record.Stored, error] {
	return read(ctx, c, StreamArchive, f.subject(record.BranchArchive), f, false, record.IsArchived)
}
