package feed_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/providertest"
)

func TestMain(m *testing.M) { providertest.Main(m) }

const (
	tenantBody = `{"email":"ada@acme.example","name":"Ada Lovelace","auth_provider":"oidc","roles":["user"]}`
	orgBody    = `{"identityName":"ada","displayName":"Ada Lovelace","organizations":[{"organizationId":"0A000000-0000-4000-8000-000000000001","roleId":"6F1C0C5E-0000-4000-8000-000000000001"}],"email":"ada@acme.example","firstName":"Ada","lastName":"Lovelace"}`
)

type world struct {
	env    providers.Environment
	source providers.Source
	token  string
	id     string

	credentials *providertest.Credentials
}

func newWorld(t *testing.T) *world {
	t.Helper()
	env, _, credentials := providertest.Environment(t, providertest.NewClock())
	w := &world{env: env, credentials: credentials, source: providers.Source{
		Tenant: providertest.Tenant, Name: "workday", Kind: providers.KindFeed, Config: &feed.Config{Format: "user"}, Grants: []string{"user", "guest", "viewer"},
	}}
	w.add(t, providers.FeedPurpose("workday"))
	return w
}

// add makes the credential that events are sent with.
func (w *world) add(t *testing.T, purpose providers.Purpose) {
	t.Helper()
	id, token, hash, err := providers.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.credentials.Add(providers.Credential{
		ID: id, Tenant: providertest.Tenant, Name: "hr", Purpose: purpose, SecretHash: hash, Grants: []string{"admin", "user", "viewer"},
	})
	w.token, w.id = token.Reveal(), id
}

func (w *world) open(t *testing.T) providers.Provider {
	t.Helper()
	p, err := feed.New(w.source, w.env)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) event(body string) providers.Envelope {
	e := providertest.Envelope("workday", providers.ShapeFeed, []byte(body), providertest.Epoch)
	e.Header = providers.Header{"Authorization": {"bearer " + w.token}}
	return e
}

func TestSuite(t *testing.T) {
	w := newWorld(t)
	providertest.Run(t, providertest.Suite{
		New:      w.open,
		Accepted: func(*testing.T) providers.Envelope { return w.event(tenantBody) },
		Rejected: func(t *testing.T) map[string]providers.Envelope {
			all := map[string]providers.Envelope{}
			for name, body := range corpus(t) {
				all[name] = w.event(body)
			}
			for _, name := range []string{"no credential", "other tenant in header", "wrong token", "JWT"} {
				all[name] = w.event(tenantBody)
			}
			delete(all["no credential"].Header, "Authorization")
			all["other tenant in header"].Header["X-Tenant-ID"] = []string{"3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"}
			all["wrong token"].Header["Authorization"] = []string{"Bearer idpsync_aaaqeayeaudaocaj_CgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCk"}
			all["JWT"].Header["Authorization"] = []string{"Bearer a.b.c"}
			return all
		},
		Secrets: []string{w.token[len("idpsync_")+17:]},
	})
}

// corpus returns the hostile bodies, which are those of commands, as a feed reads the same documents.
func corpus(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../command/testdata/rejected/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	all := map[string]string{"10MB": `{"email":"a@acme.example","name":"` + strings.Repeat("A", 10<<20) + `"}`}
	for _, f := range files {
		if filepath.Base(f) == "organization-shape.json" { // which a feed may send
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(data)
	}
	return all
}

func TestGrantsAreThoseOfBothCredentialAndSource(t *testing.T) {
	w := newWorld(t)
	got, err := w.open(t).Verify(t.Context(), w.event(tenantBody))
	if err != nil {
		t.Fatal(err)
	}
	want := providers.Principal{Kind: providers.PrincipalCredential, ID: w.id, Tenant: providertest.Tenant, Name: "hr", Grants: []string{"user", "viewer"}}
	if !reflect.DeepEqual(got.Principal, want) {
		t.Errorf("principal %+v, want %+v", got.Principal, want)
	}
	w.source.Grants = nil
	if got, err = w.open(t).Verify(t.Context(), w.event(tenantBody)); err != nil || len(got.Principal.Grants) != 0 {
		t.Errorf("a source without grants has the grants %v with the error %v, want none", got.Principal.Grants, err)
	}
}

func TestACredentialIsForThisFeed(t *testing.T) {
	for purpose, reason := range map[providers.Purpose]string{
		providers.PurposeAny: "", providers.FeedPurpose("workday"): "",
		providers.PurposeCommands: "credential_purpose", providers.FeedPurpose("workday2"): "credential_purpose", providers.FeedPurpose(""): "credential_purpose",
		providers.LoginPurpose("workday"): "credential_purpose", "feed": "credential_purpose", "Feed:workday": "credential_purpose",
	} {
		w := newWorld(t)
		w.add(t, purpose)
		_, err := w.open(t).Verify(t.Context(), w.event(tenantBody))
		got := ""
		if failure, ok := errors.AsType[*providers.Error](err); ok {
			got = failure.Reason
		}
		if got != reason {
			t.Errorf("a credential for %q is refused for %q (%v), wanted %q", purpose, got, err, reason)
		}
		if err != nil && strings.Contains(err.Error(), "workday") {
			t.Errorf("a credential for %q: the message names a source: %v", purpose, err)
		}
	}
}

func TestBothShapesAreTold(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]struct {
		shape    providers.Shape
		provider string
	}{
		tenantBody:                              {providers.ShapeTenant, "oidc"},
		`{"email":"a@acme.example","name":"A"}`: {providers.ShapeTenant, "local"},
		orgBody:                                 {providers.ShapeOrganization, "local"},
		strings.Replace(orgBody, "ada@", "bob@", 1): {providers.ShapeOrganization, "local"},
	} {
		got, err := w.open(t).Verify(t.Context(), w.event(body))
		if err != nil || got.Shape != want.shape || got.AuthProvider != want.provider {
			t.Errorf("%s: shape %q, auth provider %q, %v; want %+v", body, got.Shape, got.AuthProvider, err, want)
		}
	}
}

func TestTrustEmailSaysThatAddressesAreVerified(t *testing.T) {
	w := newWorld(t)
	for _, trust := range []bool{false, true} {
		w.source.TrustEmail = trust
		got, err := w.open(t).Verify(t.Context(), w.event(tenantBody))
		if err != nil || got.EmailVerified != trust {
			t.Errorf("with trust_email %v the address is verified: %v, with the error %v, want the same", trust, got.EmailVerified, err)
		}
	}
}

func TestFormatsThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	for format, want := range map[string]string{"scim": "scim cannot be read by this version", "csv": `"csv" is not known`} {
		w.source.Config = &feed.Config{Format: format}
		if _, err := feed.New(w.source, w.env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("format %s: %v, want an error with %q", format, err, want)
		}
	}
	w.source.Config, w.source.Kind = nil, providers.KindOIDC
	if _, err := feed.New(w.source, w.env); err == nil {
		t.Error("a source of another kind was taken")
	}
}

func TestJWTIsNoCredentialOfAFeed(t *testing.T) {
	w := newWorld(t)
	w.env.Tokens = anyToken{}
	e := w.event(tenantBody)
	e.Header["Authorization"] = []string{"Bearer a.b.c"}
	_, err := w.open(t).Verify(t.Context(), e)
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok || failure.Reason != "credential_unknown" {
		t.Errorf("Verify of a JWT ends with %v, want the reason credential_unknown", err)
	}
}

// anyToken vouches for every token.
type anyToken struct{}

func (anyToken) VerifyToken(context.Context, string, string, time.Time, *providers.Trace) (providers.Principal, error) {
	return providers.Principal{Kind: providers.PrincipalSource, ID: "okta", Grants: []string{"user"}}, nil
}
