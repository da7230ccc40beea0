package worker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// hub is a deployment with a leaf node.
func hub(t *testing.T) (*workertest.Deployment, *workertest.Edge) {
	t.Helper()
	t.Parallel()
	d := workertest.New(t, workertest.Options{Domain: "hub"})
	return d, d.Edge("edge")
}

// trusting has a worker believe the leaf node about the events of the tenants.
func trusting(tenants ...string) func(*worker.Config) {
	return func(c *worker.Config) { c.TrustedDomains = original.Trust{"edge": tenants} }
}

// tokenLife is how long a token of a delayed login is valid: long enough to be published on a busy machine, and waited for.
const tokenLife = 5 * time.Second

// shortly are claims of a token that ends soon, as the skew that a source tolerates is nearly over.
func shortly(d *workertest.Deployment, subject string) (workertest.Claims, time.Time) {
	end := time.Now().Add(tokenLife).Truncate(time.Second)
	exp := end.Add(-providers.DefaultClockSkew)
	return d.Person(subject).With(workertest.Claims{"iat": end.Add(-5 * time.Minute).Unix(), "exp": exp.Unix()}), end
}

// late waits until a time has passed.
func late(d *workertest.Deployment, end time.Time) {
	d.T.Helper()
	d.Eventually("for the token to expire", func() bool { return time.Now().After(end) })
}

// delayed has logins published at the leaf node while it is cut off, whose tokens have expired when they arrive, and returns
// when they were stored there.
func delayed(d *workertest.Deployment, e *workertest.Edge, subject string, ids ...string) []time.Time {
	d.T.Helper()
	e.Link.Cut()
	var stored []time.Time
	var end time.Time
	for _, id := range ids {
		var c workertest.Claims
		c, end = shortly(d, "late-"+id)
		m := e.Original(e.Publish(subject, id, d.Login(c)))
		if !m.Time.Before(end) {
			d.T.Fatalf("the leaf node stored the login %s at %v, after its token had expired at %v: the machine is too slow for this test", id, m.Time, end)
		}
		stored = append(stored, m.Time)
	}
	late(d, end)
	e.Link.Restore()
	if m := d.Arrived(uint64(len(ids))); m.Time.Before(end) {
		d.T.Fatalf("the last login arrived at %v, before its token expired at %v", m.Time, end)
	}
	return stored
}

// wantJudged wants so many events judged by each time.
func wantJudged(t *testing.T, p *workertest.Process, want map[string]int) {
	t.Helper()
	if got := p.Metrics.JudgedBy(); !maps.Equal(got, want) {
		t.Errorf("events were judged by %v, want %v", got, want)
	}
}

// A leaf node that was cut off sends its logins late. They are judged by when it stored them.
func TestALoginThatALeafNodeKeptIsJudgedByItsFirstTime(t *testing.T) {
	d, e := hub(t)
	stored := delayed(d, e, okta, "e1")
	p := d.Start(trusting(acme))
	if r := d.Await("e1"); r.Status != 201 {
		t.Fatalf("a login that came late from a trusted leaf node ends with status %d and %s, want 201", r.Status, r.Data)
	}
	row := ledgerRow(t, d, "e1")
	if !row.StoredAt.Equal(stored[0].Truncate(time.Microsecond)) {
		t.Errorf("the ledger says that the login was stored at %v, want %v, as the leaf node says", row.StoredAt, stored[0])
	}
	if o := record.ParseOrigin(row.Origin); o.Stream != "IDPSYNC_EVENTS" || o.Sequence != 1 || !o.At.After(stored[0].Add(time.Second)) {
		t.Errorf("the ledger says that the login is %s; want the message 1 of IDPSYNC_EVENTS with the time at which it arrived", row.Origin)
	}
	wantJudged(t, p, map[string]int{"first": 1})
}

// What is not trusted is judged at its arrival, and says so. Trusted later, it can be replayed.
func TestALeafNodeThatIsNotTrustedGivesNoTime(t *testing.T) {
	d, e := hub(t)
	delayed(d, e, okta, "e1")
	for name, trust := range map[string]original.Trust{
		"no domain": nil, "another domain": {"elsewhere": {original.AllTenants}}, "another tenant": {"edge": {globex}},
	} {
		p := d.Start(func(c *worker.Config) { c.TrustedDomains = trust })
		var letter workertest.Record
		if len(d.Letters.All()) == 0 {
			wantRejected(t, d, "e1", record.CodeUnauthenticated, "expired")
			letter = d.AwaitLetter("e1")
		} else { // replayed
			n := len(d.Letters.All())
			d.Replay(name, d.Letters.All()[n-1].Sequence)
			letter = d.Letters.Await(n+1, "dead letter of the replay", func(r workertest.Record) bool { return r.EventID == "e1" })[n]
		}
		read, err := record.ReadDeadLetter(letter.Header)
		if err != nil {
			t.Fatal(err)
		}
		if letter.Reason != "expired" || !strings.Contains(read.Hint, "trusted_domains") || !strings.Contains(read.Detail, `"first_time":"untrusted"`) {
			t.Errorf("with %s trusted the login is refused as %s, with the hint %q and %s; want expired, as untrusted", name, letter.Reason, read.Hint, read.Detail)
		}
		wantJudged(t, p, map[string]int{"untrusted": 1})
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	d.Start(trusting(original.AllTenants))
	all := d.Letters.All()
	d.Replay("trusted", all[len(all)-1].Sequence)
	d.Results.Await(1, "result of the replay", func(r workertest.Record) bool { return r.EventID == "e1" && r.Status == 201 })
}

// The first time of a dead letter is kept: its replay does not depend on what the leaf node still has. That the domain is
// trusted is asked again.
func TestADeadLetterKeepsItsFirstTime(t *testing.T) {
	d, e := hub(t)
	stored := delayed(d, e, workertest.LoginSubject(acme, "azure"), "e1", "e2")
	p := d.Start(trusting(acme))
	for i, id := range []string{"e1", "e2"} {
		letter := d.AwaitLetter(id)
		if letter.Code != record.CodeUnknownSource {
			t.Fatalf("the login of a source that is not declared is refused as %s, want %s", letter.Code, record.CodeUnknownSource)
		}
		if read, err := record.ReadDeadLetter(letter.Header); err != nil || !read.StoredAt.Equal(stored[i]) {
			t.Errorf("the dead letter says that %s was stored at %v (%v), want %v, as the leaf node says", id, read.StoredAt, err, stored[i])
		}
		e.Lose(uint64(i + 1))
	}
	d.Apply(strings.Replace(workertest.Directory, "name: okta", "name: azure", 1))
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p = d.Start() // the leaf node is not trusted any more
	d.Replay("no trust", d.AwaitLetter("e1").Sequence)
	again := d.Letters.Await(2, "dead letter of the replay", func(r workertest.Record) bool { return r.EventID == "e1" })[1]
	if again.Reason != "expired" {
		t.Errorf("a replay is refused as %s after the domain has lost its trust, want expired", again.Reason)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	d.Start(trusting(acme))
	d.Replay("trust", d.AwaitLetter("e2").Sequence)
	d.Results.Await(1, "result of the replay", func(r workertest.Record) bool { return r.EventID == "e2" && r.Status == 201 })
}

// While the leaf node cannot be reached again, its events wait, and nobody else.
func TestALeafNodeThatHangsKeepsNobodyElseWaiting(t *testing.T) {
	const sourced, others = 40, 40
	for name, cut := range map[string]func(e *workertest.Edge){
		"cut":    func(e *workertest.Edge) { e.Link.Cut() },
		"frozen": func(e *workertest.Edge) { e.Link.Freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			d, e := hub(t)
			var ids []string
			for i := range sourced {
				ids = append(ids, fmt.Sprint("edge-", i))
			}
			delayed(d, e, okta, ids...)
			cut(e)
			loginsFrom(d, "hub-", others)
			p := d.Process(trusting(acme))
			var reads atomic.Int64
			p.On(func(_ context.Context, c fault.Call) error {
				if c.Method == "Original" {
					reads.Add(1)
				}
				return nil
			})
			p.Run()
			for i := range others {
				if r := d.Await(fmt.Sprint("hub-", i)); r.Status != 201 {
					t.Errorf("login %d at the hub ends with status %d and %s, want 201", i, r.Status, r.Data)
				}
			}
			d.Eventually("for the events of the leaf node to be parked", func() bool { return d.Counts().Parked == sourced })
			if results := len(d.Results.All()); results != others {
				t.Errorf("there are %d results while the leaf node cannot be reached, want the %d of the hub", results, others)
			}
			if n := reads.Load(); n > sourced {
				t.Errorf("a leaf node that does not answer was asked %d times for %d events, want once each at most", n, sourced)
			}
			e.Link.Restore()
			oneEach(t, d, sourced+others)
			wantJudged(t, p, map[string]int{"first": sourced})
		})
	}
}

// A leaf node that stays away for longer than an event may wait leaves a dead letter, which can be replayed when it is back.
func TestAnEventOfALeafNodeWaitsForItsBudget(t *testing.T) {
	d, e := hub(t)
	delayed(d, e, okta, "e1")
	e.Link.Cut()
	d.Start(trusting(acme), func(c *worker.Config) { c.LoginBudget = 5 * time.Minute })
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	if waited := d.GiveUp(); waited < 5*time.Minute {
		t.Errorf("the event was given up after %v, want five minutes", waited)
	}
	wantRejected(t, d, "e1", record.CodeUnavailable, "first_time_unavailable")
	e.Link.Restore()
	d.Eventually("for the leaf node to be back", func() bool { return e.Reached(d.Ctx) })
	d.Clock.Advance(time.Minute) // the worker asks again after a while
	d.Replay("back", d.AwaitLetter("e1").Sequence)
	d.Results.Await(1, "result of the replay", func(r workertest.Record) bool { return r.EventID == "e1" && r.Status == 201 })
}

// What the leaf node does not have any more is judged at its arrival, which is later than its first time: a valid login is let
// in, and one whose token has expired says why.
func TestAnEventWhoseOriginalIsGoneIsJudgedAtItsArrival(t *testing.T) {
	d, e := hub(t)
	delayed(d, e, okta, "expired")
	e.Publish(okta, "valid", d.Login(d.Person("valid")))
	d.Arrived(2)
	e.Lose(1)
	e.Lose(2)
	p := d.Start(trusting(acme))
	if r := d.Await("valid"); r.Status != 201 {
		t.Errorf("a login that is valid at its arrival ends with status %d and %s, want 201", r.Status, r.Data)
	}
	wantRejected(t, d, "expired", record.CodeUnauthenticated, "expired")
	if read, err := record.ReadDeadLetter(d.AwaitLetter("expired").Header); err != nil || !strings.Contains(read.Hint, "does not have it any more") {
		t.Errorf("the hint is %q (%v), want that the first message is gone", read.Hint, err)
	}
	wantJudged(t, p, map[string]int{"gone": 2})
}

// smuggle publishes an event at the hub, under an id of its sender or none, with a header of the broker's own, in a line that
// the broker overlooks.
func smuggle(t *testing.T, d *workertest.Deployment, id, source string, body []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.BrokerURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	header := "NATS/1.0\r\n:" // clients read over a line without a name
	if id != "" {
		header = "NATS/1.0\r\nIdpsync-Event-Id: " + id
	}
	header += "\nNats-Stream-Source: " + source + "\r\n\r\n"
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answer 1\r\nHPUB %s answer %d %d\r\n%s%s\r\n", okta, len(header), len(header)+len(body), header, body)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "{") {
			if !strings.Contains(line, `"seq"`) {
				t.Fatalf("the broker answers %s to a header that it overlooks, want that the event is stored", line)
			}
			return
		}
	}
	t.Fatal("the broker did not answer")
}

// Whoever may publish at the hub can claim that an event came from the leaf node. He gains nothing by it.
func TestAClaimToComeFromALeafNodeIsNotBelieved(t *testing.T) {
	d, e := hub(t)
	_, err := publishClaim(d)
	if api := (*jetstream.APIError)(nil); !errors.As(err, &api) || api.ErrorCode != 10227 {
		t.Errorf("the broker stores the claim of a publisher with the error %v, want 10227", err)
	}
	c, end := shortly(d, "ada")
	other, _ := shortly(d, "eve")
	genuine, stolen := d.Login(c), d.Login(other)
	e.Link.Cut()
	e.Publish(okta, "", genuine)
	e.Publish(okta, "named", genuine)
	late(d, end.Add(time.Second))
	e.Link.Restore()
	named := d.Arrived(2).Header.Get("Nats-Stream-Source")
	unnamed := d.Arrived(1).Header.Get("Nats-Stream-Source")
	p := d.Start(trusting(acme))
	d.Settle()
	if results := d.AllResults(); len(results) != 2 {
		t.Fatalf("there are %d results of two logins at the leaf node, want 2", len(results))
	}
	wantJudged(t, p, map[string]int{"first": 2})

	smuggle(t, d, "stolen", named, stolen) // another token
	wantRejected(t, d, "stolen", record.CodeUnauthenticated, "expired")
	smuggle(t, d, "again", named, genuine) // another id
	wantRejected(t, d, "again", record.CodeUnauthenticated, "expired")
	smuggle(t, d, "", named, genuine) // no id
	d.Settle()
	wantJudged(t, p, map[string]int{"first": 2, "altered": 3})
	smuggle(t, d, "named", named, genuine) // the very message
	if results := d.ResultsOf("named"); len(results) != 1 {
		t.Errorf("the copy of a message that had its effect has %d results, want the one that it had", len(results))
	}
	smuggle(t, d, "", unnamed, genuine) // the very message, whose id is made by the broker
	d.Settle()
	wantJudged(t, p, map[string]int{"first": 4, "altered": 3})
	var reasons []string
	for _, l := range d.AllLetters() {
		reasons = append(reasons, l.Reason)
	}
	slices.Sort(reasons)
	if want := []string{"assertion_replayed", "expired", "expired", "expired"}; !slices.Equal(reasons, want) {
		t.Errorf("the copies are refused as %v, want %v", reasons, want)
	}
	if users := len(d.Users(acme)); users != 1 {
		t.Errorf("there are %d users, want one", users)
	}
}

// publishClaim publishes an event with a header that the broker keeps for itself.
func publishClaim(d *workertest.Deployment) (ack *jetstream.PubAck, err error) {
	d.Raw(func(js jetstream.JetStream) error {
		ack, err = js.PublishMsg(d.Ctx, &nats.Msg{Subject: okta, Header: nats.Header{"Nats-Stream-Source": {"EDGE:n1VdnVvB 1 > > " + okta}}, Data: []byte("{}")})
		return nil
	})
	return ack, err
}

// What comes by a front door was stored nowhere, whatever its headers say.
func TestAClaimAtAFrontDoorIsNotEvenRead(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Process(trusting(acme))
	p.On(fault.At(fault.BeforeBroker, func(_ context.Context, c fault.Call) error {
		if c.Method == "Original" {
			t.Error("an original of a request is read, want none")
		}
		return nil
	}))
	p.Run()
	s := submission(d.Credential(acme, "user"), "k1", tenantUser("ada", "oidc"))
	s.Header["Nats-Stream-Source"] = []string{"EDGE:n1VdnVvB 1 > > " + s.Subject}
	if answer, _ := p.Submit(d.Ctx, s); answer.Status != 201 {
		t.Errorf("a request with a header of the broker's is answered %d %s, want 201", answer.Status, answer.Body)
	}
	wantJudged(t, p, map[string]int{})
}
