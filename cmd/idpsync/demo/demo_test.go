package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/cmd/idpsync/serve"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// newDemo starts the world of a demo, on free ports.
func newDemo(t *testing.T) (*Demo, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	counters := serve.NewMetrics("test")
	m, err := Start(t.Context(), Options{
		DataDir: t.TempDir(), NATSListen: "127.0.0.1:0", Once: true, Out: out, Now: time.Now, Rand: rand.Reader, Log: log,
		Front: serve.Options{
			Name: "demo", Version: "test", HTTPListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", MaxPayload: 1 << 20,
			ReplyInboxes: []string{stream.DefaultInbox}, Metrics: counters, Now: time.Now, Log: log,
		},
		Worker: func(folder, natsListen string) (assemble.Options, error) {
			return assemble.Options{
				DataDir: folder, HTTP: &http.Client{}, Who: "test",
				Embedded: &stream.EmbeddedOptions{DataDir: folder, Listen: natsListen, Open: true, MaxPayload: 1 << 20, Log: log},
				Worker: worker.Config{
					Name: "demo", Version: "test", Batch: 500, AckWait: stream.AckWait, Slots: filepath.Join(folder, "crumbs"),
					LoginBudget: time.Hour, FeedBudget: time.Hour, DrainTimeout: 20 * time.Second,
					Metrics: counters, Now: time.Now, Rand: rand.Reader, Log: log,
				},
			}, nil
		},
		Checks: func(ctx context.Context) manifest.Options {
			return manifest.Options{Kinds: assemble.Kinds(), ReadIssuer: func(s providers.Source) (string, error) { return saml.EntityID(ctx, s, &http.Client{}) }}
		},
	})
	if err != nil {
		t.Fatalf("start the demo: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Errorf("got error %v from stopping the demo, want none", err)
		}
	})
	return m, out
}

// TestDemoSaysWhenASampleComesOutOtherwise spoils one sample of each door.
func TestDemoSaysWhenASampleComesOutOtherwise(t *testing.T) {
	m, out := newDemo(t)
	scenes := []scene{m.oidcScene(), m.httpScene(), m.policyScene()}
	scenes[0].samples, scenes[1].samples, scenes[2].samples = scenes[0].samples[:1], scenes[1].samples[:1], scenes[2].samples[:1]
	scenes[0].samples[0].want = "exists"
	scenes[1].samples[0].want = "user_exists"
	scenes[2].samples[0].notice = "Welcome."
	failed, err := m.play(t.Context(), scenes)
	if err != nil || failed != 3 {
		t.Errorf("got %d samples that came out otherwise and error %v, want 3 and none", failed, err)
	}
	for _, says := range []string{
		"NOT as announced: wanted exists, got created", "NOT as announced: wanted user_exists, got created",
		`NOT as announced: wanted the notice "Welcome."`, "3 samples, 0 as announced, 3 not",
	} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("%q is missing:\n%s", says, out)
		}
	}
}

// TestDemoForecastSaysWhatRunDoes asks for each sample of the demo what would become of it, then sends it.
func TestDemoForecastSaysWhatRunDoes(t *testing.T) {
	m, _ := newDemo(t)
	p, stop := m.player(t.Context())
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]bool{}
	for _, scene := range m.scenes() {
		for _, s := range scene.samples {
			t.Run(strings.ReplaceAll(s.id+" "+s.title, "/", " "), func(t *testing.T) {
				sending, err := p.prepare(s)
				if err != nil {
					t.Fatal(err)
				}
				forecasts, err := m.worker.Worker.Forecast(t.Context(), []worker.Preview{{
					Subject: sending.subject, Header: sending.header, Data: sending.body, StoredAt: time.Now(), EventID: s.id, Door: s.door, Explain: true,
				}})
				if err != nil {
					t.Fatal(err)
				}
				f := forecasts[0]
				r, err := p.send(t.Context(), sending)
				if err != nil {
					t.Fatal(err)
				}
				if fault := s.check(r); fault != "" {
					t.Error("the event does not end as the forecast says: ", fault)
				}
				told := readForecast(f)
				if verdict(told) != verdict(r) || told.Status != r.Status || told.EventID != r.EventID {
					t.Errorf("run of the event %q ends with status %s as %s, want status %s as %s, like the forecast, with its id", r.EventID, r.Status, verdict(r), told.Status, verdict(told))
				}
				if strings.Join(f.Policies, ",") != r.Policies {
					t.Errorf("run names the policies %q, want those of the forecast, %q", r.Policies, f.Policies)
				}
				if f.Outcome == record.OutcomeRejected && steady(f.Body) != steady(r.Body) {
					t.Errorf("run answers %s, want the answer of the forecast, %s", r.Body, f.Body)
				}
				if f.Repeat != sending.again {
					t.Errorf("the forecast takes the event for a repeat: %t, want %t", f.Repeat, sending.again)
				}
				failing := 0
				for _, c := range f.Checks {
					if !c.OK {
						failing++
					}
				}
				if (f.Outcome == record.OutcomeRejected) != (failing > 0) {
					t.Errorf("got the forecast %s with %d failed checks, want some exactly when it is a rejection: %+v", f.Outcome, failing, f.Checks)
				}
				seen[r.Outcome] = true
			})
		}
	}
	for _, outcome := range []string{"created", "exists", "linked", "rejected"} {
		if !seen[outcome] {
			t.Errorf("no sample is %s", outcome)
		}
	}
}

// readForecast reads a forecast as the result that it foresees.
func readForecast(f worker.Forecast) kit.Result {
	return kit.ResultOf(record.Reply{Outcome: f.Outcome, Status: f.Status, EventID: f.EventID}, f.Body)
}

// steady replaces the times and ages in a body, which differ between a forecast and the answer.
func steady(body []byte) string {
	body = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z`).ReplaceAll(body, []byte("<time>"))
	return string(regexp.MustCompile(`\d+m\d+s`).ReplaceAll(body, []byte("<age>")))
}

func TestDemoStartedAt(t *testing.T) {
	bin := t.TempDir()
	path := filepath.Join(bin, "idpsync")
	if err := os.WriteFile(path, nil, 0o700); err != nil { //nolint:gosec // it must look like a program
		t.Fatal(err)
	}
	if got := startedAt(path); got != path {
		t.Errorf("got %q for a program that is not on the path, want its path %q", got, path)
	}
	t.Setenv("PATH", bin)
	if got := startedAt(path); got != "idpsync" {
		t.Errorf("got %q for the program on the path, want idpsync", got)
	}
	if got := startedAt("/home/ann/my programs/idpsync"); got != "'/home/ann/my programs/idpsync'" {
		t.Errorf("got %q for a path with a space, want it quoted", got)
	}
	built := "/tmp/go-build1234/b001/exe/idpsync"
	if got := startedAt(built); got != "go run github.com/idpsync/idpsync/cmd/idpsync" {
		t.Errorf("got %q for go run elsewhere, want the import path", got)
	}
	t.Chdir("../../..")
	if got := startedAt(built); got != "go run ./cmd/idpsync" {
		t.Errorf("got %q for go run in the module, want the relative path", got)
	}
}
