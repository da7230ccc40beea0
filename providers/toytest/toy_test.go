package toytest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/toytest"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// kinds are those of a deployment that has forges: the toy is one line of it.
func kinds() providers.Kinds {
	return providers.Kinds{
		oidc.Kind(),
		saml.Kind(),
		feed.Kind(),
		command.Kind(),
		toytest.Kind(),
	}
}

const (
	forge  = "https://forge.example"
	secret = "a secret of the forge and ours"
)

// document is what the forge says of Ada; it ends that long after the epoch.
func document(client string, end time.Duration) string {
	return fmt.Sprintf(`{"client_id": %q, "id": 583231, "login": "ada", "name": "Ada Lovelace", "email": "ada@acme.example", "exp": %d}`,
		client, providertest.Epoch.Add(end).Unix())
}

func login(client string, end time.Duration) providers.Envelope {
	return providertest.Envelope("forge", providers.ShapeLogin, toytest.Sign([]byte(secret), document(client, end)), providertest.Epoch)
}

// folder returns one with the secret in it.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "forge.secret"), []byte(secret), 0o600); err != nil {
		t.Fatalf("write the secret: %v", err)
	}
	return dir
}

// declaration is a directory file of one tenant with these sources.
func declaration(sources ...string) []byte {
	return []byte("tenants:\n  - id: " + providertest.Tenant + "\n    name: acme\n    roles: [{name: user}]\n    sources:\n      - " + strings.Join(sources, "\n      - ") + "\n")
}

const declared = `{name: forge, kind: forge, issuer: "` + forge + `", client_id: idpsync, secret_file: forge.secret, trust_email: true, domains: [acme.example], grants: [user], default_roles: [user]}`

func TestSuite(t *testing.T) {
	source := providers.Source{
		Tenant: providertest.Tenant, Name: "forge", Kind: toytest.Name, Issuer: forge, TrustEmail: true, Domains: []string{"acme.example"},
		Config: &toytest.Config{ClientID: "idpsync", SecretFile: filepath.Join(folder(t), "forge.secret")},
	}
	forged := login("idpsync", time.Minute)
	forged.Payload = toytest.Sign([]byte("another secret than ours"), document("idpsync", time.Minute))
	providertest.Run(t, providertest.Suite{
		New: func(t *testing.T) providers.Provider {
			env, _, _ := providertest.Environment(t, providertest.NewClock())
			p, err := toytest.New(source, env)
			if err != nil {
				t.Fatalf("make the provider: %v", err)
			}
			return p
		},
		Accepted: func(*testing.T) providers.Envelope { return login("idpsync", time.Minute) },
		Rejected: func(*testing.T) map[string]providers.Envelope {
			return map[string]providers.Envelope{
				"signed by another": forged, "for another application": login("other", time.Minute), "too late": login("idpsync", 0),
			}
		},
		Secrets: []string{secret, "ada@acme.example"},
	})
}

// A kind that a deployment has by one line is declared, applied, loaded, and its events become users.
func TestANewKindTurnsAnEventIntoAUser(t *testing.T) {
	all := kinds()
	read, err := manifest.Parse(filepath.Join(folder(t), "directory.yaml"), declaration(declared), manifest.Options{Kinds: all})
	if err != nil {
		t.Fatalf("the declaration is refused: %v", err)
	}
	if len(read.Warnings) > 0 {
		t.Errorf("the declaration has the warnings %v, want none", read.Warnings)
	}
	plan, err := manifest.NewPlan(store.Directory{}, read)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if len(plan.Steps) != 1 {
		t.Errorf("the plan has the steps %v, want one that reserves the addresses of acme.example", plan.Steps)
	}
	st := storetest.Open(t, store.SQLite)
	if _, err := st.ApplyDirectory(t.Context(), 0, plan.Directory, "test", providertest.Epoch); err != nil {
		t.Fatalf("apply: %v", err)
	}
	env, _, _ := providertest.Environment(t, providertest.NewClock())
	cache := directory.NewCache(st, all, env, nil)
	t.Cleanup(cache.Close)
	if err := cache.Reload(t.Context()); err != nil {
		t.Fatalf("load the directory: %v", err)
	}
	tenant := cache.Current().Tenant(providertest.Tenant)
	source := tenant.Source("forge")
	if source == nil || source.Err != nil {
		t.Fatalf("the source was loaded as %+v, want one that works", source)
	}
	if !source.Carries(providers.ShapeLogin) || source.Carries(providers.ShapeFeed) {
		t.Errorf("the source carries logins %v and feed events %v, want logins alone", source.Carries(providers.ShapeLogin), source.Carries(providers.ShapeFeed))
	}

	event := login("idpsync", time.Minute)
	asked, err := source.Provider.Verify(t.Context(), event)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	r := rules.Request{Action: record.ActionCreate, Tenant: &tenant.Tenant, Source: &source.Source, Event: &event, Asked: asked}
	if faults, refusal := r.Check(rules.Passwords{}); refusal != nil {
		t.Fatalf("the request is refused: %v, faults %v", refusal, faults)
	}
	found, rejection := r.Resolve(store.Found{})
	if rejection != nil {
		t.Fatalf("the identity is refused: %v", rejection)
	}
	grants, rejection := r.Permit(found, record.Decision{Allow: true})
	if rejection != nil {
		t.Fatalf("the roles are refused: %v", rejection)
	}
	user, effects := r.Effects(found, grants, "0a000000-0000-4000-8000-000000000001", providertest.Epoch)
	if user.Email != "ada@acme.example" || user.Name != "Ada Lovelace" || user.IdentityName != "ada" || !user.EmailVerified {
		t.Errorf("the user is %+v, want Ada Lovelace, ada, with the proved address ada@acme.example", user)
	}
	linked := slices.ContainsFunc(effects, func(e rules.Effect) bool {
		link, ok := e.(rules.Link)
		return ok && link.Kind == "forge" && link.Issuer == forge && link.Subject == "583231"
	})
	if !linked {
		t.Errorf("the effects are %+v, want a link to the identity 583231 of %s", effects, forge)
	}
}

func TestADeclarationOfANewKindIsChecked(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"a setting of another kind":  {strings.Replace(declared, "client_id: idpsync", "client_id: idpsync, audiences: [x]", 1), `audiences does not belong to a source of kind forge (it is for oidc)`},
		"its setting at another":     {`{name: okta, kind: oidc, issuer: "https://okta.example", audiences: [x], client_id: idpsync, domains: [acme.example]}`, `client_id does not belong to a source of kind oidc (it is for forge)`},
		"a setting is missing":       {strings.Replace(declared, "client_id: idpsync, ", "", 1), `source "forge" has no client_id (the forge shows it where our application is registered)`},
		"a key that it cannot have":  {strings.Replace(declared, "client_id", "key_grace: 1h, client_id", 1), "key_grace does not belong to a source of kind forge (it is for oidc and saml)"},
		"a setting is misspelt":      {strings.Replace(declared, "client_id", "client_ids", 1), `unknown key "client_ids" (did you mean "client_id"?)`},
		"the kind is misspelt":       {strings.Replace(declared, "kind: forge", "kind: forgo", 1), `there are no sources of kind "forgo" (did you mean "forge"?)`},
		"a variable of another kind": {strings.Replace(declared, "grants", `mapping: {name: claims.name}, grants`, 1), "the variable is user, as in user.login"},
		"a proof by claims":          {strings.Replace(declared, "grants", `mapping: {email_verified: "user.ok"}, grants`, 1), "cannot be mapped for a source of kind forge"},
		"nothing proves addresses":   {strings.Replace(declared, "trust_email: true, ", "", 1), "a forge source proves addresses by trust_email and domains alone"},
		"twice":                      {declared + "\n      - " + strings.Replace(declared, "name: forge", "name: again", 1), `sources "forge" and "again" are one application (make them one)`},
		"issuer of another kind": {
			declared + "\n      - " + `{name: okta, kind: oidc, issuer: "` + forge + `", audiences: [x], domains: [acme.example]}`,
			`sources "forge" and "okta" have the same issuer https://forge.example`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Parse(filepath.Join(folder(t), "directory.yaml"), declaration(c.source), manifest.Options{Kinds: kinds()})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the faults are %v, want one that says %q", err, c.want)
			}
		})
	}
}
