package record_test

import (
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// The hash is that of a real broker: worker/sourced_test.go has its events found by it.
func TestDomainHash(t *testing.T) {
	if got := record.DomainHash("edge"); got != "n1VdnVvB" {
		t.Errorf("the hash of the domain edge is %s, want n1VdnVvB, as nats-server 2.15.2 writes it", got)
	}
}

func TestParseSource(t *testing.T) {
	edge := record.Source{Stream: "EDGE", Domain: "n1VdnVvB", Sequence: 7, Subject: "idpsync.login.t.s"}
	local := edge
	local.Domain = ""
	for value, want := range map[string]record.Source{
		"EDGE:n1VdnVvB 7 > > idpsync.login.t.s cYZ5dIYp":  edge,
		"EDGE:n1VdnVvB 7 > > idpsync.login.t.s":           edge,
		"EDGE:n1VdnVvB:C=abc 7 > > idpsync.login.t.s x":   edge,
		"EDGE 7 > > idpsync.login.t.s cYZ5dIYp":           local,
		"EDGE:C=abc 7 > > idpsync.login.t.s x":            local,
		"EDGE:n1VdnVvB 0 > > idpsync.login.t.s cYZ5dIYp":  {},
		"EDGE:n1VdnVvB -7 > > idpsync.login.t.s cYZ5dIYp": {},
		"EDGE:n1VdnVvB seven > > idpsync.login.t.s":       {},
		":n1VdnVvB 7 > > idpsync.login.t.s":               {},
		"EDGE:n1VdnVvB 7":                                 {}, // of brokers before 2.10
		"$JS.ACK.EDGE.C.1.7.1.1700000000000000000.0":      {},
		"": {},
	} {
		got, ok := record.ParseSource(providers.Header{"Nats-Stream-Source": {value}})
		if got != want || ok != (want != record.Source{}) {
			t.Errorf("the header %q is read as %+v (%v), want %+v", value, got, ok, want)
		}
	}
	for name, h := range map[string]providers.Header{
		"another spelling": {"nats-stream-source": {"EDGE:n1VdnVvB 7 > > s"}},
		"two of them":      {"Nats-Stream-Source": {"EDGE:n1VdnVvB 7 > > s", "EDGE:n1VdnVvB 8 > > s"}},
		"none":             {},
	} {
		if got, ok := record.ParseSource(h); ok {
			t.Errorf("a message with %s is read as a copy of %+v, want none", name, got)
		}
	}
}

func TestOnlyTheSameMessageWasCopied(t *testing.T) {
	s := record.Source{Stream: "EDGE", Sequence: 7, Subject: "a.b"}
	copied := providers.Header{"X": {"1", "2"}, "Nats-Stream-Source": {"EDGE 7 > > a.b"}}
	body := []byte("{}")
	genuine := func() record.Stored {
		return record.Stored{Sequence: 7, Subject: "a.b", Header: providers.Header{"X": {"1", "2"}, "Nats-Expected-Stream": {"EDGE"}}, Data: []byte("{}")}
	}
	if !s.CopiedFrom(genuine(), copied, body) {
		t.Error("the message that was copied is taken for another")
	}
	for what, change := range map[string]func(*record.Stored){
		"another sequence": func(m *record.Stored) { m.Sequence = 8 },
		"another subject":  func(m *record.Stored) { m.Subject = "a.c" },
		"another body":     func(m *record.Stored) { m.Data = []byte("[]") },
		"another value":    func(m *record.Stored) { m.Header["X"] = []string{"1", "3"} },
		"a value less":     func(m *record.Stored) { m.Header["X"] = []string{"1"} },
		"a header less":    func(m *record.Stored) { delete(m.Header, "X") },
		"a header more":    func(m *record.Stored) { m.Header["Y"] = []string{"1"} },
		"another spelling": func(m *record.Stored) { m.Header = providers.Header{"x": {"1", "2"}} },
	} {
		m := genuine()
		change(&m)
		if s.CopiedFrom(m, copied, body) {
			t.Errorf("a message with %s is taken for the one that was copied", what)
		}
	}
}
