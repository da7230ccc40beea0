package worker

import (
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A deliveredOnce is a message at its first delivery.
type deliveredOnce struct{ Message }

func (deliveredOnce) Delivered() uint64 { return 1 }

// TestDispositions is the table of [event.disposition], cell by cell.
func TestDispositions(t *testing.T) {
	t.Parallel()
	const login, command = "idpsync.login." + senderTenant + ".okta", "idpsync.command." + senderTenant + ".v1.users.create"
	letter := rejected{record.Reject(record.CodeMalformed, "", "")}
	ordinary := rejected{&record.Rejection{}}
	short, away := &deferred{reason: "busy"}, &deferred{reason: "issuer", away: true}
	names := map[disposition]string{left: "left", acked: "acked", termed: "termed", nakked: "nakked", erased: "erased", unpark: "unpark"}
	consumer := transport{delivery: deliveredOnce{}}
	parked := transport{parked: &store.Parked{}}
	front := transport{reply: make(chan<- record.Answer, 1)}
	order := transport{replay: &replay{}}
	for name, c := range map[string]struct {
		transport
		verdict verdict
		subject string
		failed  bool
		want    disposition
	}{
		"an effect":                            {consumer, effect{}, login, false, acked},
		"a repeat":                             {consumer, repeat{}, login, false, acked},
		"a rejection":                          {consumer, letter, login, false, termed},
		"a rejection without a dead letter":    {consumer, ordinary, login, false, acked},
		"a short wait":                         {consumer, short, login, false, nakked},
		"a wait for an issuer":                 {consumer, away, login, false, acked},
		"an effect that was not told":          {consumer, effect{}, login, true, nakked},
		"a rejection that was not told":        {consumer, letter, login, true, nakked},
		"a wait that was not parked":           {consumer, away, login, true, nakked},
		"a command's effect":                   {consumer, effect{}, command, false, erased},
		"a command's rejection":                {consumer, letter, command, false, erased},
		"a command that waits for an issuer":   {consumer, away, command, false, erased},
		"a command that waits for a moment":    {consumer, short, command, false, nakked},
		"a command that was not told":          {consumer, effect{}, command, true, nakked},
		"a parked event's effect":              {parked, effect{}, login, false, unpark},
		"a parked event's rejection":           {parked, letter, login, false, unpark},
		"a parked event that waits on":         {parked, away, login, false, left},
		"a parked event that was not told":     {parked, effect{}, login, true, left},
		"a parked command's effect":            {parked, effect{}, command, false, unpark},
		"a request's effect":                   {front, effect{}, command, false, left},
		"a request's rejection":                {front, letter, command, false, left},
		"a request that waits":                 {front, away, command, false, left},
		"a replay's effect":                    {order, effect{}, login, false, left},
		"a replay's rejection":                 {order, letter, login, false, left},
		"a stranded event, which nobody holds": {transport{}, effect{}, login, false, left},
	} {
		e := &event{message: message{subject: c.subject, transport: c.transport}, verdict: c.verdict}
		e.request.Asked.Principal.Kind = providers.PrincipalSource // it was read, and holds no password
		if got := e.disposition(c.failed); got != c.want {
			t.Errorf("%s: got %s, want %s", name, names[got], names[c.want])
		}
	}

	e := &event{message: message{subject: login, transport: consumer}, verdict: letter, owed: true}
	e.request.Asked.Principal.Kind = providers.PrincipalSource
	if got := e.disposition(false); got != acked {
		t.Errorf("a rejection whose dead letter is parked: got %s, want acked", names[got])
	}
}
