package record

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	sealing "github.com/idpsync/idpsync/providers/seal"
)

func newSealer(t *testing.T) *sealing.Key {
	t.Helper()
	k, _, err := sealing.Generate(rand.Reader)
	if err != nil {
		t.Fatalf("make a seal key: %v", err)
	}
	return k
}

const orderTenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

// letter makes a dead letter of a login that came with credentials.
func letter(t *testing.T, s Sealer) Outgoing {
	t.Helper()
	at := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	d := DeadLetter{
		Origin: Origin{Stream: "IDPSYNC_EVENTS", Created: at, Sequence: 1}, StoredAt: at, FirstFailed: at, LastFailed: at, Attempts: 1,
		Subject: "idpsync.login." + orderTenant + ".okta", EventID: "e1", Tenant: orderTenant, Source: "okta", Worker: "w",
	}
	d.Refused(Reject(CodeUnauthenticated, "signature", "No."))
	header := providers.Header{"Authorization": {"Bearer token"}, "X-Api-Key": {"key"}, "Cookie": {"crumb"}, "X-Trace": {"7"}}
	out, err := d.Write(s, header, []byte(`{"id_token":"a"}`))
	if err != nil {
		t.Fatalf("make a dead letter: %v", err)
	}
	return out
}

func TestADeadLetterIsSignedAsAWhole(t *testing.T) {
	t.Parallel()
	v := newSealer(t)
	whole := letter(t, v)
	for name, values := range whole.Header {
		if text := strings.Join(values, " "); strings.Contains(text, "Bearer") || text == "key" || text == "crumb" {
			t.Errorf("the credential in the header %s lies open: %s; wanted it sealed", name, text)
		}
	}
	o, err := Unseal(v, whole.Header, whole.Data)
	if err != nil || string(o.Data) != `{"id_token":"a"}` || o.Header.Get("Authorization") != "Bearer token" || o.Header.Get("X-Trace") != "7" {
		t.Fatalf("the dead letter opens as %+v: %v; wanted the event as it was", o, err)
	}
	refused := func(what string, header providers.Header, data []byte) {
		t.Helper()
		if _, err := Unseal(v, header, data); !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%s: the dead letter opens with the error %v, wanted the signature not to hold", what, err)
		}
	}
	changed := func(name string, values ...string) providers.Header {
		h := providers.Header{}
		for n, v := range whole.Header {
			h[n] = v
		}
		if delete(h, name); values != nil {
			h[name] = values
		}
		return h
	}
	for name, values := range whole.Header {
		refused("header "+name+" changed", changed(name, values[0]+"0"), whole.Data)
		if name != deadLetterSignature { // of which the first value counts
			refused("header "+name+" doubled", changed(name, values[0], values[0]), whole.Data)
			refused("header "+name+" away", changed(name), whole.Data)
		}
	}
	refused("a header more", changed(DeadLetterOriginalPrefix+"X-Api-Key", "mine"), whole.Data)
	other, err := v.Seal([]byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	refused("another body, sealed for the deployment", whole.Header, other)
	refused("a body that is cut", whole.Header, whole.Data[:len(whole.Data)-1])
	refused("no signature", changed(deadLetterSignature), whole.Data)
}

func TestWhoGaveAnOrder(t *testing.T) {
	t.Parallel()
	const order = `{"action":"replay","sequences":[1],"campaign":"c","who":"bob","why":"w"}`
	for vouches, want := range map[bool]Operator{true: {Vouched: "alice", Said: "bob"}, false: {Said: "bob"}} {
		_, tenant, by, err := ReadOrder(ReplaySubject(orderTenant, "alice"), []byte(order), vouches)
		if err != nil || by != want || tenant != orderTenant {
			t.Errorf("where the broker vouches: %v, the order is that of %+v for tenant %s: %v; wanted %+v", vouches, by, tenant, err, want)
		}
	}
}
