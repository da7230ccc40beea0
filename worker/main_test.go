package worker_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/worker/workertest"
)

func TestMain(m *testing.M) {
	if workertest.Child() {
		return
	}
	goleak.VerifyTestMain(m,
		// nats-server starts this one per process, to refresh its clock, and never ends it.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"),
	)
}
