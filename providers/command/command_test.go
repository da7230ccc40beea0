package command_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/providertest"
)

func TestMain(m *testing.M) { providertest.Main(m) }

const (
	otherTenant = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	tenantBody  = `{"email":"ada@acme.example","name":"Ada Lovelace","password":"correct horse","roles":["user"]}`
	orgBody     = `{"identityName":"ada","displayName":"Ada Lovelace","organizations":[{"organizationId":"0A000000-0000-4000-8000-000000000001","roleId":"6F1C0C5E-0000-4000-8000-000000000001"}],"email":"ada@acme.example","firstName":"Ada","lastName":"Lovelace"}`
)

// A world is a provider with credentials of every standing.
type world struct {
	clock       *providertest.Clock
	env         providers.Environment
	credentials *providertest.Credentials
	tokens      map[string]string // by name
	ids         map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: providertest.NewClock(), tokens: map[string]string{}, ids: map[string]string{}}
	w.env, _, w.credentials = providertest.Environment(t, w.clock)
	w.add(t, "good", providers.Credential{Tenant: providertest.Tenant, Grants: []string{"user", "admin"}})
	w.add(t, "other tenant", providers.Credential{Tenant: otherTenant})
	w.add(t, "revoked", providers.Credential{Tenant: providertest.Tenant, RevokedAt: providertest.Epoch.Add(time.Hour)})
	w.add(t, "revoked, other tenant", providers.Credential{Tenant: otherTenant, RevokedAt: providertest.Epoch.Add(time.Hour)})
	w.add(t, "expired", providers.Credential{Tenant: providertest.Tenant, ExpiresAt: providertest.Epoch})
	w.add(t, "expiring", providers.Credential{Tenant: providertest.Tenant, ExpiresAt: providertest.Epoch.Add(time.Nanosecond)})
	w.add(t, "for commands", providers.Credential{Tenant: providertest.Tenant, Purpose: providers.PurposeCommands})
	w.add(t, "for a feed", providers.Credential{Tenant: providertest.Tenant, Purpose: providers.FeedPurpose("workday")})
	w.add(t, "for a feed, other tenant", providers.Credential{Tenant: otherTenant, Purpose: providers.FeedPurpose("workday")})
	w.add(t, "for a feed, revoked", providers.Credential{Tenant: providertest.Tenant, Purpose: providers.FeedPurpose("workday"), RevokedAt: providertest.Epoch.Add(time.Hour)})
	_, forgotten, _, err := providers.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.tokens["unknown"] = forgotten.Reveal()
	good := w.tokens["good"]
	last := byte('A')
	if good[len(good)-2] == last {
		last = 'B'
	}
	w.tokens["wrong secret"] = good[:len(good)-2] + string(last) + good[len(good)-1:]
	return w
}

func (w *world) add(t *testing.T, name string, c providers.Credential) {
	t.Helper()
	id, token, hash, err := providers.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.Name, c.SecretHash = id, name, hash
	w.credentials.Add(c)
	w.tokens[name], w.ids[name] = token.Reveal(), id
}

func (w *world) open(t *testing.T) providers.Provider {
	t.Helper()
	p, err := command.New(providers.Source{Tenant: providertest.Tenant, Name: providers.AdminSource, Kind: providers.KindCommand}, w.env)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// event is a command of the tenant shape with the credential called name.
func (w *world) event(name, body string) providers.Envelope {
	e := providertest.Envelope(providers.AdminSource, providers.ShapeTenant, []byte(body), providertest.Epoch)
	e.Header = providers.Header{
		"Authorization": {"Bearer " + w.tokens[name]},
		"X-Tenant-ID":   {strings.ToUpper(providertest.Tenant)},
	}
	return e
}

func TestSuite(t *testing.T) {
	w := newWorld(t)
	providertest.Run(t, providertest.Suite{
		New:      w.open,
		Accepted: func(*testing.T) providers.Envelope { return w.event("good", tenantBody) },
		Rejected: func(t *testing.T) map[string]providers.Envelope {
			all := map[string]providers.Envelope{}
			for _, c := range w.rejected() {
				all[c.name] = c.event
			}
			for name, body := range corpus(t) {
				all[name] = w.event("good", body)
			}
			return all
		},
		Secrets: append(secrets(w), "correct horse", "hunter2hunter2"),
	})
}

func secrets(w *world) []string {
	var all []string
	for _, token := range w.tokens {
		_, secret, _ := strings.Cut(strings.TrimPrefix(token, "idpsync_"), "_")
		all = append(all, secret)
	}
	return all
}

type rejected struct {
	name   string
	event  providers.Envelope
	class  error
	reason string
	field  string
}

func (w *world) rejected() []rejected {
	with := func(e providers.Envelope, name string, values ...string) providers.Envelope {
		delete(e.Header, name)
		if values != nil {
			e.Header[name] = values
		}
		return e
	}
	good := func() providers.Envelope { return w.event("good", tenantBody) }
	return []rejected{
		{"no tenant header", with(good(), "X-Tenant-ID"), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"tenant header twice", with(good(), "X-Tenant-ID", providertest.Tenant, providertest.Tenant), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"tenant in braces", with(good(), "X-Tenant-ID", "{"+providertest.Tenant[1:35]+"}"), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"tenant as digits", with(good(), "X-Tenant-ID", strings.ReplaceAll(providertest.Tenant, "-", "")), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"tenant as urn", with(good(), "X-Tenant-ID", "urn:uuid:"+providertest.Tenant), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"tenant empty", with(good(), "X-Tenant-ID", ""), providers.ErrMalformed, "tenant_header", "X-Tenant-ID"},
		{"other tenant in header", with(good(), "X-Tenant-ID", otherTenant), providers.ErrTenantMismatch, "tenant_mismatch", "X-Tenant-ID"},
		{"other tenant in header, no credential", with(with(good(), "X-Tenant-ID", otherTenant), "Authorization"), providers.ErrTenantMismatch, "tenant_mismatch", "X-Tenant-ID"},
		{"credential of another tenant", w.event("other tenant", tenantBody), providers.ErrTenantMismatch, "tenant_mismatch", ""},
		{"no credential", with(good(), "Authorization"), providers.ErrUnverified, "credential_missing", ""},
		{"basic", with(good(), "Authorization", "Basic "+w.tokens["good"]), providers.ErrUnverified, "credential_missing", ""},
		{"token without scheme", with(good(), "Authorization", w.tokens["good"]), providers.ErrUnverified, "credential_missing", ""},
		{"bearer without token", with(good(), "Authorization", "Bearer "), providers.ErrUnverified, "credential_missing", ""},
		{"empty key", with(with(good(), "Authorization"), "X-API-Key", ""), providers.ErrUnverified, "credential_missing", ""},
		{"two credentials", with(good(), "X-API-Key", w.tokens["good"]), providers.ErrMalformed, "credential_ambiguous", "Authorization"},
		{"credential twice", with(good(), "Authorization", "Bearer "+w.tokens["good"], "Bearer "+w.tokens["good"]), providers.ErrMalformed, "credential_ambiguous", "Authorization"},
		{"unknown", w.event("unknown", tenantBody), providers.ErrUnverified, "credential_unknown", ""},
		{"wrong secret", w.event("wrong secret", tenantBody), providers.ErrUnverified, "credential_unknown", ""},
		{"no token of ours", with(good(), "Authorization", "Bearer secret"), providers.ErrUnverified, "credential_unknown", ""},
		{"a JWT that nobody vouches for", with(good(), "Authorization", "Bearer a.b.c"), providers.ErrUnverified, "credential_unknown", ""},
		{"revoked after the command was stored", w.event("revoked", tenantBody), providers.ErrUnverified, "credential_revoked", ""},
		{"revoked, of another tenant", w.event("revoked, other tenant", tenantBody), providers.ErrUnverified, "credential_revoked", ""},
		{"expired", w.event("expired", tenantBody), providers.ErrUnverified, "credential_expired", ""},
		{"for a feed", w.event("for a feed", tenantBody), providers.ErrUnverified, "credential_purpose", ""},
		{"for a feed of another tenant", w.event("for a feed, other tenant", tenantBody), providers.ErrTenantMismatch, "tenant_mismatch", ""},
		{"for a feed, revoked", w.event("for a feed, revoked", tenantBody), providers.ErrUnverified, "credential_revoked", ""},
	}
}

func TestRejected(t *testing.T) {
	w := newWorld(t)
	p := w.open(t)
	for _, c := range w.rejected() {
		_, err := p.Verify(t.Context(), c.event)
		failure, ok := errors.AsType[*providers.Error](err)
		if !ok {
			t.Errorf("%s: Verify ends with %v, want a *providers.Error", c.name, err)
			continue
		}
		if !errors.Is(err, c.class) || failure.Reason != c.reason || failure.Field != c.field {
			t.Errorf("%s: %v with reason %q and field %q; want %v, %q, %q", c.name, failure.Class, failure.Reason, failure.Field, c.class, c.reason, c.field)
		}
	}
}

func TestACredentialForCommandsIsAccepted(t *testing.T) {
	w := newWorld(t)
	if _, err := w.open(t).Verify(t.Context(), w.event("for commands", tenantBody)); err != nil {
		t.Errorf("a credential for commands was refused: %v", err)
	}
}

func TestUnknownAndWrongSecretLookAlike(t *testing.T) {
	w := newWorld(t)
	p := w.open(t)
	var seen []providers.Error
	for _, name := range []string{"unknown", "wrong secret"} {
		_, err := p.Verify(t.Context(), w.event(name, tenantBody))
		failure, ok := errors.AsType[*providers.Error](err)
		if !ok {
			t.Fatalf("%s: Verify ends with %v, want a *providers.Error", name, err)
		}
		seen = append(seen, *failure)
	}
	if !reflect.DeepEqual(seen[0], seen[1]) {
		t.Errorf("an outsider can tell them apart: %+v and %+v", seen[0], seen[1])
	}
}

func TestTenantIsCheckedBeforeAnythingIsLookedUp(t *testing.T) {
	w := newWorld(t)
	w.env.Credentials = failing{}
	e := w.event("good", tenantBody)
	e.Header["X-Tenant-ID"] = []string{otherTenant}
	if _, err := w.open(t).Verify(t.Context(), e); !errors.Is(err, providers.ErrTenantMismatch) {
		t.Errorf("Verify = %v, want ErrTenantMismatch", err)
	}
	e.Header["X-Tenant-ID"] = []string{providertest.Tenant}
	if _, err := w.open(t).Verify(t.Context(), e); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Verify = %v, want ErrUnavailable", err)
	}
}

// failing is a store that is away.
type failing struct{}

func (failing) Credential(context.Context, string) (providers.Credential, error) {
	return providers.Credential{}, errors.New("connection refused")
}
func (failing) Used(string, time.Time) {}

func TestTenantShape(t *testing.T) {
	w := newWorld(t)
	got, err := w.open(t).Verify(t.Context(), w.event("good", tenantBody))
	if err != nil {
		t.Fatal(err)
	}
	want := providers.CreateUser{
		Principal: providers.Principal{Kind: providers.PrincipalCredential, ID: w.ids["good"], Tenant: providertest.Tenant, Name: "good", Grants: []string{"user", "admin"}},
		Shape:     providers.ShapeTenant, AuthProvider: "local",
		Email: "ada@acme.example", Name: "Ada Lovelace", Password: "correct horse",
		Roles: providers.Claim[string]{Present: true, Values: []string{"user"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if at := w.credentials.LastUsed(w.ids["good"]); !at.Equal(providertest.Epoch) {
		t.Errorf("the credential was last used at %v, want %v", at, providertest.Epoch)
	}
}

func TestRoleClaimStates(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]providers.Claim[string]{
		`{"email":"a@acme.example","name":"A"}`:                         {},
		`{"email":"a@acme.example","name":"A","roles":[]}`:              {Present: true, Values: []string{}},
		`{"email":"a@acme.example","name":"A","roles":["user","user"]}`: {Present: true, Values: []string{"user", "user"}},
	} {
		got, err := w.open(t).Verify(t.Context(), w.event("good", body))
		if err != nil || !reflect.DeepEqual(got.Roles, want) {
			t.Errorf("%s: the roles are %+v with the error %v, want %+v", body, got.Roles, err, want)
		}
	}
}

func TestOrganizationShapeNeedsNoTenantHeader(t *testing.T) {
	w := newWorld(t)
	e := w.event("good", orgBody)
	e.Shape = providers.ShapeOrganization
	delete(e.Header, "X-Tenant-ID")
	e.Header["x-api-key"] = []string{w.tokens["good"]}
	delete(e.Header, "Authorization")
	got, err := w.open(t).Verify(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if got.AuthProvider != "local" || got.Password != "" || got.IdentityName != "ada" || got.FirstName != "Ada" || got.LastName != "Lovelace" || got.DisplayName != "Ada Lovelace" {
		t.Errorf("the request is %+v, want Ada Lovelace, local, without a password", got)
	}
	if len(got.Organizations.Values) != 1 || got.Organizations.Values[0].OrganizationID != "0A000000-0000-4000-8000-000000000001" {
		t.Errorf("organizations are %+v, want them as written", got.Organizations)
	}
}

func TestExpiryIsJudgedWhenTheCommandWasStored(t *testing.T) {
	w := newWorld(t)
	w.clock.Advance(48 * time.Hour)
	if _, err := w.open(t).Verify(t.Context(), w.event("expiring", tenantBody)); err != nil {
		t.Errorf("Verify = %v, though the credential was good when the command was stored", err)
	}
}

func TestJWTIsProvedByTokens(t *testing.T) {
	w := newWorld(t)
	principal := providers.Principal{Kind: providers.PrincipalSource, ID: "okta", Tenant: providertest.Tenant, Grants: []string{"user"}}
	w.env.Tokens = tokens{"h.p.s": principal}
	e := w.event("good", tenantBody)
	e.Header["Authorization"] = []string{"Bearer h.p.s"}
	got, err := w.open(t).Verify(t.Context(), e)
	if err != nil || !reflect.DeepEqual(got.Principal, principal) {
		t.Errorf("the principal is %+v with the error %v, want that of the token, %+v", got.Principal, err, principal)
	}
	e.Header["Authorization"] = []string{"Bearer h.p.x"}
	if _, err := w.open(t).Verify(t.Context(), e); !errors.Is(err, providers.ErrUnverified) {
		t.Errorf("Verify = %v, want ErrUnverified", err)
	}
}

type tokens map[string]providers.Principal

func (m tokens) VerifyToken(_ context.Context, tenant, token string, at time.Time, _ *providers.Trace) (providers.Principal, error) {
	p, ok := m[token]
	if !ok || tenant != providertest.Tenant || !at.Equal(providertest.Epoch) {
		return p, &providers.Error{Class: providers.ErrUnverified, Reason: "signature", Message: "The signature does not hold."}
	}
	return p, nil
}

// corpus returns the hostile bodies of testdata/rejected, and those that are too large to keep.
func corpus(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/rejected/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	all := map[string]string{
		"10MB":       `{"email":"a@acme.example","name":"` + strings.Repeat("A", 10<<20) + `"}`,
		"deep":       `{"email":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"NUL":        "{\"email\":\"a@acme.example\x00\",\"name\":\"A\"}",
		"bad UTF-8":  "{\"email\":\"a@acme.example\",\"name\":\"\xff\"}",
		"only space": " \n\t",
		"UTF-16":     "\xff\xfe{\x00}\x00",
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(data)
	}
	return all
}

func TestHostileBodiesAreMalformed(t *testing.T) {
	w := newWorld(t)
	p := w.open(t)
	for name, body := range corpus(t) {
		_, err := p.Verify(t.Context(), w.event("good", body))
		if !errors.Is(err, providers.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(tenantBody), true)
	f.Add([]byte(orgBody), false)
	clock := providertest.NewClock()
	_, token, hash, err := providers.NewToken(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	id, _, err := providers.ParseToken(token.Reveal())
	if err != nil {
		f.Fatal(err)
	}
	credentials := &providertest.Credentials{}
	credentials.Add(providers.Credential{ID: id, Tenant: providertest.Tenant, SecretHash: hash})
	p, err := command.New(providers.Source{Tenant: providertest.Tenant}, providers.Environment{Credentials: credentials, Now: clock.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, tenant bool) {
		shape := providers.ShapeOrganization
		if tenant {
			shape = providers.ShapeTenant
		}
		e := providertest.Envelope(providers.AdminSource, shape, body, providertest.Epoch)
		e.Header = providers.Header{"Authorization": {"Bearer " + token.Reveal()}, "X-Tenant-ID": {providertest.Tenant}}
		r, err := p.Verify(t.Context(), e)
		if err != nil && !errors.Is(err, providers.ErrMalformed) {
			t.Errorf("%v, want ErrMalformed", err)
		}
		if err == nil && !json.Valid(body) {
			t.Errorf("accepted what is not JSON as %+v", r)
		}
	})
}
