package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestBatchOfLargeEventsEndsBeforeItIsFull(t *testing.T) {
	const all, size = 120, 400 << 10
	d := workertest.New(t, workertest.Options{})
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
	for i := range all {
		d.PublishWith(workertest.FeedSubject(acme, "workday"), fmt.Sprintf("e%d", i), []byte(`{"x":"`+strings.Repeat("x", size)+`"}`), header)
	}
	p := d.Start(func(c *worker.Config) { c.Batch, c.Loops, c.Linger = all, 1, 200*time.Millisecond })
	d.Results.Await(all, "of all events", func(workertest.Record) bool { return true })
	if n := slices.Max(p.Metrics.Batches("commit")); n*size > 17<<20 {
		t.Errorf("a batch has %d events of %d bytes, want at most 17 MiB", n, size)
	}
}
