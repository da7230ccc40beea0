package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// destructive are the subjects of the JetStream API on which an empty message does harm.
func destructive() []string {
	all := make([]string, 0, 32)
	for _, name := range []string{stream.StreamEvents, stream.StreamResults, stream.StreamDeadLetters, stream.StreamReplays, stream.StreamAdvisories} {
		all = append(all, "$JS.API.STREAM.PURGE."+name, "$JS.API.STREAM.DELETE."+name, "$JS.API.STREAM.LEADER.STEPDOWN."+name)
	}
	for _, lane := range []string{"IDPSYNC_EVENTS.logins", "IDPSYNC_EVENTS.feeds", "IDPSYNC_REPLAYS.replays"} {
		all = append(all, "$JS.API.CONSUMER.PAUSE."+lane, "$JS.API.CONSUMER.RESET."+lane, "$JS.API.CONSUMER.DELETE."+lane)
	}
	return all
}

// TestRepliesOfTheBrokerDoNoHarm names subjects of the JetStream API as reply subjects. The broker checks no permissions for
// what it answers itself, and some of its answers are empty, as the requests to delete or purge a stream are.
func TestRepliesOfTheBrokerDoNoHarm(t *testing.T) {
	for user, trigger := range map[string]struct {
		stream, consumer, filter string // to be made first
		subject, body            string
		header                   nats.Header
	}{
		"acme-login":   {subject: "idpsync.login." + tenantA + ".okta", header: batch},
		"acme-hr":      {subject: "idpsync.feed." + tenantA + ".workday", header: batch},
		"acme-admin":   {subject: "idpsync.command." + tenantA + ".users.create", header: batch},
		"acme-reader":  pulling(stream.StreamResults, "acme-reader", "idpsync.result."+tenantA+".>"),
		"acme-waiting": pulling(stream.StreamResults, "acme-waiting", "idpsync.result."+tenantA+".okta.*"),
		"alice":        pulling(stream.StreamDeadLetters, "alice-1", "idpsync.deadletter.>"),
		"bob":          {subject: "$JS.API.DIRECT.GET.IDPSYNC_DEADLETTERS", body: `{"seq":99}`},
	} {
		t.Run(user, func(t *testing.T) {
			s := deployed(t)
			s.migrate()
			ctx := within(t, time.Minute)
			publish(t, s.as("worker"), []record.Outgoing{resultOf(tenantB, "r"), letterOf(tenantB, "okta", record.CodeMalformed, "d")})
			publish(t, s.as("globex-hr"), []record.Outgoing{{Subject: "idpsync.feed." + tenantB + ".workday", Data: []byte("{}")}})
			publish(t, s.as("alice"), []record.Outgoing{{Subject: record.ReplaySubject(tenantB, "alice"), Data: []byte("{}")}})
			nc := s.plain(user)
			if trigger.consumer != "" {
				js, err := jetstream.New(nc)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := js.CreateConsumer(ctx, trigger.stream, jetstream.ConsumerConfig{
					Name: trigger.consumer, FilterSubject: trigger.filter, DeliverPolicy: jetstream.DeliverNewPolicy, InactiveThreshold: time.Minute,
				}); err != nil {
					t.Fatal(err)
				}
			}
			for _, reply := range destructive() {
				m := &nats.Msg{Subject: trigger.subject, Reply: reply, Header: trigger.header, Data: []byte(trigger.body)}
				if err := nc.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
				// Answers come in order: once this one is there, the other was given.
				m = &nats.Msg{Subject: trigger.subject, Data: []byte(trigger.body)}
				if _, err := nc.RequestMsgWithContext(ctx, m); err != nil {
					t.Fatalf("after %s was named as the reply subject, an honest request gets %v", reply, err)
				}
			}
			if d, err := stream.Compare(ctx, s.as("worker")); err != nil || len(d) != 0 {
				t.Errorf("the streams and consumers differ in %q afterwards, and the error is %v; want none", fmt.Sprint(d), err)
			}
			js, err := jetstream.New(s.plain("migrate"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{stream.StreamEvents, stream.StreamResults, stream.StreamDeadLetters, stream.StreamReplays} {
				if st, err := js.Stream(ctx, name); err != nil || st.CachedInfo().State.FirstSeq != 1 {
					t.Errorf("%s no longer begins with the message of the other tenant; the error is %v", name, err)
				}
			}
		})
	}
}

// batch marks the first message of an atomic batch, which the broker would answer with an empty message.
var batch = nats.Header{"Nats-Batch-Id": {"b1"}, "Nats-Batch-Sequence": {"1"}}

// pulling asks for a message that is not there: the answer is a status without a body.
func pulling(name, consumer, filter string) (p struct {
	stream, consumer, filter string
	subject, body            string
	header                   nats.Header
},
) {
	p.stream, p.consumer, p.filter = name, consumer, filter
	p.subject, p.body = "$JS.API.CONSUMER.MSG.NEXT."+name+"."+consumer, `{"batch":1,"no_wait":true}`
	return p
}

// TestMigrateEndsBatches has migrate turn atomic batches off, see [TestRepliesOfTheBrokerDoNoHarm], also where a stream took them.
func TestMigrateEndsBatches(t *testing.T) {
	s := deployed(t)
	s.migrate()
	ctx := within(t, time.Minute)
	js, err := jetstream.New(s.plain("migrate"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(ctx, stream.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	before := st.CachedInfo().Config
	before.AllowAtomicPublish = true
	if _, err := js.UpdateStream(ctx, before); err != nil {
		t.Fatal(err)
	}
	d, err := stream.Compare(ctx, s.as("worker"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(d, func(d stream.Difference) bool { return strings.Contains(d.String(), "allow_atomic") }) {
		t.Errorf("a stream that takes atomic batches differs in %q, want allow_atomic", fmt.Sprint(d))
	}
	s.migrate()
	if st, err = js.Stream(ctx, stream.StreamEvents); err != nil || st.CachedInfo().Config.AllowAtomicPublish {
		t.Errorf("after migrate the stream takes atomic batches: %v, with the error %v; want false", st.CachedInfo().Config.AllowAtomicPublish, err)
	}
}
