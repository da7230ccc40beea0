package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestTokenValidWhenStoredAndExpiredWhenProcessedCreates(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.LogIn("e1", d.Person("ada"))
	d.Clock.Advance(24 * time.Hour)
	d.Start()
	if r := d.Await("e1"); r.Status != 201 {
		t.Errorf("a login whose token has expired since ends with status %d and %s, want 201", r.Status, r.Data)
	}
}

func TestTokenExpiredWhenStoredIsRefused(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", d.Person("ada").With(workertest.Claims{"iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix()}))
	wantRejected(t, d, "e1", record.CodeUnauthenticated, "expired")
}

func TestEventOlderThanItsSourceAllowsIsRefused(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.LogIn("e1", d.Person("ada"))
	d.Clock.Advance(8 * 24 * time.Hour)
	d.Start()
	wantRejected(t, d, "e1", record.CodeUnauthenticated, "event_too_old")
}

func TestTokenSignedBeforeARotationCreates(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	d.LogIn("before", d.Person("first"))
	d.Await("before")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	waiting := d.Login(d.Person("ada"))
	d.Publish(okta, "waited", waiting)
	if err := d.Issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	d.LogIn("after", d.Person("grace"))
	d.Start(func(c *worker.Config) { c.Loops = 1 })
	for _, id := range []string{"after", "waited"} {
		if r := d.Await(id); r.Status != 201 {
			t.Errorf("the login %q of a rotation ends with status %d and %s, want 201", id, r.Status, r.Data)
		}
	}
}

func TestTokenSignedWithARetiredKeyIsRefused(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	retired := d.Issuer.KeyID()
	d.LogIn("before", d.Person("first"))
	d.Await("before")
	if err := d.Issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	d.LogIn("after", d.Person("second"))
	if r := d.Await("after"); r.Status != 201 {
		t.Fatalf("the login after the rotation ends with status %d and %s, want 201", r.Status, r.Data)
	}
	d.Publish(okta, "forged", d.Login(d.Person("mallory"), issuer.WithKeyID(retired)))
	wantRejected(t, d, "forged", record.CodeUnauthenticated, "retired_key")
}

func TestForgedTokensHaveAReasonEach(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("honest", d.Person("honest"))
	d.Await("honest")
	mallory := d.Person("mallory")
	altered := func() (string, error) {
		token, err := d.Issuer.Sign(mallory)
		if err != nil {
			return "", err
		}
		return issuer.Altered(token, mallory.With(workertest.Claims{"sub": "honest"}))
	}
	twice := strings.Replace(string(workertest.Payload(mallory)), `{`, `{"sub":"honest",`, 1)
	for id, c := range map[string]struct {
		token  func() (string, error)
		code   record.Code
		reason string
	}{
		"none":     {func() (string, error) { return d.Issuer.Unsigned(mallory) }, record.CodeUnauthenticated, "algorithm"},
		"hs256":    {func() (string, error) { return d.Issuer.SignedWithPublicKey(mallory) }, record.CodeUnauthenticated, "algorithm"},
		"stranger": {func() (string, error) { return d.Issuer.SignedByAnotherKey(mallory) }, record.CodeUnauthenticated, "signature"},
		"altered":  {altered, record.CodeUnauthenticated, "signature"},
		"audience": {func() (string, error) { return d.Issuer.Sign(mallory.With(workertest.Claims{"aud": "payroll"})) }, record.CodeUnauthenticated, "audience"},
		"issuer": {func() (string, error) {
			return d.Issuer.Sign(mallory.With(workertest.Claims{"iss": "https://evil.example"}))
		}, record.CodeUnauthenticated, "issuer"},
		"twice":     {func() (string, error) { return d.Issuer.SignPayload([]byte(twice)) }, record.CodeMalformed, "duplicate_claim"},
		"case":      {func() (string, error) { return d.Issuer.Sign(mallory.With(workertest.Claims{"Sub": "honest"})) }, record.CodeMalformed, "duplicate_claim"},
		"no person": {func() (string, error) { return d.Issuer.Sign(mallory.With(workertest.Claims{"sub": nil})) }, record.CodeUnauthenticated, "subject"},
		"no token":  {func() (string, error) { return "", nil }, record.CodeMalformed, "json"},
		"not one":   {func() (string, error) { return "a.b", nil }, record.CodeMalformed, "token_form"},
	} {
		d.Publish(okta, id, d.Token(c.token()))
		wantRejected(t, d, id, c.code, c.reason)
	}
	if users := d.Users(acme); len(users) != 1 {
		t.Errorf("there are %d users, want the honest one alone", len(users))
	}
}

// wantRejected waits for the result and the dead letter of an event and compares them.
func wantRejected(t *testing.T, d *workertest.Deployment, id string, code record.Code, reason string) {
	t.Helper()
	r, letter := d.Await(id), d.AwaitLetter(id)
	if r.Outcome != record.OutcomeRejected || r.Status != code.Status() || r.Code != code || r.Reason != reason {
		t.Errorf("%s: wanted %s %s, got %d %s", id, code, reason, r.Status, r.Data)
	}
	if letter.Code != code || letter.Reason != reason {
		t.Errorf("%s: wanted a dead letter %s %s, got %s %s", id, code, reason, letter.Code, letter.Reason)
	}
}
