package worker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/workertest"
)

// logLines are what a process logs.
type logLines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// rejected returns the lines about rejected events: whose, why, and how many were left out.
func (l *logLines) rejected(t *testing.T) (lines []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.all.Bytes()) {
		var e struct {
			Msg, Tenant, Source, Door, Code string
			Others                          int `json:"others_since"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line of the log: %v", err)
		}
		if e.Msg == "event rejected" {
			lines = append(lines, fmt.Sprint(e.Tenant == acme, " ", e.Source, " ", e.Door, " ", e.Code, " ", e.Others))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestTheLogSaysSparinglyWhatIsRejected(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	log := &logLines{}
	p := d.Start(func(c *worker.Config) { c.Log = slog.New(slog.NewJSONHandler(log, nil)) })
	const many = 20
	refused := func(from int) {
		t.Helper()
		badLogins(d, acme, from, from+many)
		for i := range many {
			d.Publish(workertest.LoginSubject(acme, fmt.Sprintf("invented%d", i)), fmt.Sprintf("invented%d-%d", from, i), []byte(`{}`))
			d.Publish(workertest.LoginSubject(globex, "okta"), fmt.Sprintf("globex%d-%d", from, i), []byte(`{"id_token":"a.b.c"}`))
			a, _ := p.Submit(d.Ctx, worker.Submission{
				Subject: "idpsync.rpc." + acme + ".v1.users.create", Door: providers.DoorHTTP, ReceivedAt: d.Clock.Now(), Payload: []byte(`{}`),
				Header: providers.Header{"Authorization": {"Bearer nobody"}, "X-Tenant-ID": {acme}},
			})
			if a.Status != 401 {
				t.Errorf("a request without a credential is answered %d, want 401", a.Status)
			}
		}
		d.Results.Await(3*(from+many), "of all", func(r workertest.Record) bool { return r.Status != 0 })
	}
	refused(0)
	if got := len(log.rejected(t)); got != 4 {
		t.Errorf("of %d rejected events of four sorts the log has %q, want one line of each", 4*many, log.rejected(t))
	}
	d.Clock.Advance(clock.Sparingly)
	refused(many)
	left := 0
	for _, line := range log.rejected(t) {
		var n int
		if _, err := fmt.Sscanf(line[len(line)-2:], "%d", &n); err == nil {
			left += n
		}
	}
	if got := log.rejected(t); len(got) != 8 || left != 4*(many-1) {
		t.Errorf("a minute later the log has %q, want one more line of each, and that %d were left out", got, 4*(many-1))
	}
}
