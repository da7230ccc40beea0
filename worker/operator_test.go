package worker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// TestRecordsTellWhoIsVouchedForFromWhoIsSaid gives orders whose subject and text name operators, and looks at every record.
func TestRecordsTellWhoIsVouchedForFromWhoIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		subject string
		who     string
		vouches bool
		want    string
		vouched string
		said    string
	}{
		"both":                      {"idpsync.replay." + acme + ".alice", "bob@acme.example", true, "alice, said bob@acme.example", "alice", "bob@acme.example"},
		"the same":                  {"idpsync.replay." + acme + ".alice", "alice", true, "alice", "alice", "alice"},
		"subject alone":             {"idpsync.replay." + acme + ".alice", "", true, "alice", "alice", ""},
		"old form":                  {"idpsync.replay." + acme, "bob", true, "said bob", "", "bob"},
		"said to be another":        {"idpsync.replay." + acme, "alice, said bob", true, "said alice, said bob", "", "alice, said bob"},
		"no broker that vouches":    {"idpsync.replay." + acme + ".alice", "bob", false, "said bob", "", "bob"},
		"none, and nothing is said": {"idpsync.replay." + acme + ".alice", "", false, "said alice", "", "alice"},
	} {
		for _, action := range []string{record.OrderReplay, record.OrderDiscard} {
			t.Run(name+", "+action, func(t *testing.T) {
				t.Parallel()
				d := workertest.New(t, workertest.Options{})
				d.Start(func(c *worker.Config) { c.Vouches = test.vouches })
				d.LogIn("e1", astronaut(d, "ada"))
				letter := d.AwaitLetter("e1")
				d.Apply(repaired)
				order := fmt.Sprintf(`{"action":%q,"sequences":[%d],"campaign":"c1","who":%q,"why":"a test"}`, action, letter.Sequence, test.who)
				if _, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: test.subject, Data: []byte(order)}); err != nil {
					t.Fatal(err)
				}
				d.Settle()
				row, err := d.Store.DeadLetter(d.Ctx, letter.Sequence)
				if err != nil || row.Who != test.want || row.Why != "a test" {
					t.Errorf("the state of the dead letter names %q with the error %v, want %q", row.Who, err, test.want)
				}
				audit, err := d.Store.AuditEntries(d.Ctx, store.AuditFilter{Action: "deadletter." + action})
				if err != nil || len(audit) != 1 {
					t.Fatalf("there are %d audit entries with the error %v, want 1", len(audit), err)
				}
				var detail struct{ Vouched, Said string }
				if err := json.Unmarshal(audit[0].Detail, &detail); err != nil {
					t.Fatal(err)
				}
				if audit[0].Who != test.want || detail.Vouched != test.vouched || detail.Said != test.said {
					t.Errorf("the audit names %q, vouched %q and said %q; want %q, %q and %q", audit[0].Who, detail.Vouched, detail.Said, test.want, test.vouched, test.said)
				}
				if action == record.OrderReplay {
					r := d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })[0]
					if got := r.Header.Get(record.HeaderOperator); got != test.want {
						t.Errorf("the result names %q, want %q", got, test.want)
					}
				}
			})
		}
	}
}

// TestOrdersAreReadStrictly has orders that some reader might take for others.
func TestOrdersAreReadStrictly(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", astronaut(d, "ada"))
	letter := d.AwaitLetter("e1")
	d.Apply(repaired)
	good := fmt.Sprintf(`"action":"replay","sequences":[%d],"campaign":"c","why":"w"`, letter.Sequence)
	subject := record.ReplaySubject(acme, "alice")
	for name, order := range map[string][2]string{
		"unknown member":    {subject, `{` + good + `,"who":"op","operator":"bob"}`},
		"member twice":      {subject, `{` + good + `,"who":"op","who":"bob"}`},
		"in another case":   {subject, `{` + good + `,"Who":"op"}`},
		"trailing data":     {subject, `{` + good + `,"who":"op"}{}`},
		"null":              {subject, `{` + good + `,"who":null}`},
		"no dead letters":   {subject, `{"action":"replay","sequences":[],"campaign":"c","who":"op","why":"w"}`},
		"who of two lines":  {subject, `{` + good + `,"who":"op\nbob"}`},
		"long who":          {subject, `{` + good + `,"who":"` + strings.Repeat("x", 300) + `"}`},
		"no one":            {"idpsync.replay." + acme, `{` + good + `,"who":""}`},
		"operator of form":  {"idpsync.replay." + acme + ".Alice", `{` + good + `,"who":"op"}`},
		"deeper subject":    {subject + ".x", `{` + good + `,"who":"op"}`},
		"acknowledgement":   {subject, `{"stream":"IDPSYNC_EVENTS","seq":1}`},
		"other tenant's":    {record.ReplaySubject(globex, "alice"), `{` + good + `,"who":"op"}`},
		"tenant of no form": {"idpsync.replay.acme.alice", `{` + good + `,"who":"op"}`},
	} {
		if _, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: order[0], Data: []byte(order[1])}); err != nil {
			t.Fatal(err)
		}
		d.Settle()
		if n := len(d.Users(acme)); n != 0 {
			t.Fatalf("%s: the order was carried out", name)
		}
	}
	d.Replay("honest", letter.Sequence)
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
}
