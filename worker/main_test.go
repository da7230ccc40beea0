package worker_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/worker/leaftest"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestMain(m *testing.M) {
	if workertest.Child() {
		return
	}
	// Most tests here wait, for intervals that the worker has of its own: let them wait together.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, append(leaftest.Lasting(),
		// nats-server starts this one per process, to refresh its clock, and never ends it.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"))...)
}
