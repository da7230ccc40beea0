package casetest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// cases has a test for each file of testdata/cases: what the README there says of it.
var cases = map[string]func(t *testing.T, name string){
	"entra-overage-first-login.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantRefused(t, r.Deployment, r.logIn(0), record.CodeInvalidInput, "", `"roles"`, "left the groups claim out")
	},
	"entra-overage-repeat-login.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "user")
		wantUser(t, r.logIn(1), 200, record.OutcomeExists, "user")
		wantNoLetters(t, r.Deployment)
	},
	"new-group-repeat-login.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "user")
		wantUser(t, r.logIn(1), 200, record.OutcomeExists, "user")
		wantNoLetters(t, r.Deployment)
	},
	"email-verified-string.json": func(t *testing.T, name string) {
		t.Run("as it is", func(t *testing.T) {
			r := runTokens(t, name)
			r.provision()
			wantRefused(t, r.Deployment, r.logIn(0), record.CodeUserExists, "different_source", "email_verified is a string")
		})
		t.Run("mapped", func(t *testing.T) {
			r := runTokens(t, name, func(_ *site, s map[string]any) {
				s["mapping"] = map[string]string{"email_verified": `claims.email_verified == true || claims.email_verified == "true"`}
			})
			r.provision()
			wantUser(t, r.logIn(0), 200, record.OutcomeLinked)
		})
	},
	"entra-no-email-claim.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "user")
		r.User(workertest.Acme, "nomail@contoso.example")
	},
	"keycloak-nested-roles.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "admin", "user")
		wantUser(t, r.logIn(1), 201, record.OutcomeCreated, "user")
		wantUser(t, r.logIn(2), 201, record.OutcomeCreated, "user")
		wantRefused(t, r.Deployment, r.logIn(3), record.CodeInvalidInput, "", "claims.realm_access.roles")
	},
	"keycloak-client-roles-dots.json": func(t *testing.T, name string) {
		wantUser(t, runTokens(t, name).logIn(0), 201, record.OutcomeCreated, "admin")
	},
	"auth0-namespaced-roles.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "admin")
		wantUser(t, r.logIn(1), 201, record.OutcomeCreated)
	},
	"zitadel-roles-object.json": func(t *testing.T, name string) {
		wantUser(t, runTokens(t, name).logIn(0), 201, record.OutcomeCreated, "admin", "auditor")
	},
	"one-group-as-string-dn.json": func(t *testing.T, name string) {
		t.Run("as it is", func(t *testing.T) {
			r := runTokens(t, name)
			wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "admin")
			wantRefused(t, r.Deployment, r.logIn(1), record.CodeInvalidInput, "", "list(claims.groups)")
		})
		t.Run("with list", func(t *testing.T) {
			r := runTokens(t, name, func(_ *site, s map[string]any) {
				mapping, _ := s["mapping"].(map[string]string)
				s["mapping"] = map[string]string{"roles": strings.Replace(mapping["roles"], "claims.groups", "list(claims.groups)", 1)}
			})
			wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "admin")
			wantUser(t, r.logIn(1), 201, record.OutcomeCreated, "admin")
		})
	},
	"thousand-groups.json": func(t *testing.T, name string) {
		wantUser(t, runTokens(t, name).logIn(0), 201, record.OutcomeCreated, "user")
	},
	"iat-three-minutes-ahead.json": func(t *testing.T, name string) {
		t.Run("waits", func(t *testing.T) {
			r := runTokens(t, name)
			r.publish("ahead", 0)
			r.awaitParked()
			r.Clock.Advance(90 * time.Second)
			wantUser(t, r.Await("ahead"), 201, record.OutcomeCreated, "user")
			wantNoLetters(t, r.Deployment)
		})
		t.Run("within the skew", func(t *testing.T) {
			r := runTokens(t, name, func(_ *site, s map[string]any) { s["clock_skew"] = "4m" })
			wantUser(t, r.logIn(0), 201, record.OutcomeCreated, "user")
		})
	},
	"google-android-azp.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantRefused(t, r.Deployment, r.logIn(0), record.CodeUnauthenticated, "authorized_party", "audiences")
	},
	"sub-not-ascii.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		wantRefused(t, r.Deployment, r.logIn(0), record.CodeUnauthenticated, "subject", "subject mode")
	},
	"jwks-one-key-three-algorithms.json": created,
	"jwks-one-key-enc-and-sig.json":      created,
	"jwks-unknown-kinds.json":            created,
	"jwks-two-keys-one-kid.json":         created,
	"jwks-x5c-only.json": func(t *testing.T, name string) {
		r := runTokens(t, name)
		r.publish("keyless", 0)
		r.awaitParked()
		r.GiveUp()
		wantRefused(t, r.Deployment, r.Await("keyless"), record.CodeUnavailable, "no_usable_key", "entry 1")
	},
	"discovery-entra-common.json": func(t *testing.T, name string) {
		t.Parallel()
		s := newSite(t)
		var c tokenCase
		readCase(t, name, &c)
		for _, issuer := range []string{
			strings.ReplaceAll(c.SourceIssuer, "ISSUER", "https://login.microsoftonline.com"),
			"https://login.microsoftonline.com/organizations/v2.0", "https://login.microsoftonline.com/{tenantid}/v2.0", s.url + "/{tenantid}/v2.0",
		} {
			wantFault(t, map[string]any{"name": source, "kind": "oidc", "issuer": issuer, "audiences": []string{"idpsync"}}, "stands for many directories", "one directory")
		}
	},
	"discovery-b2c-policy.json": func(t *testing.T, name string) {
		login := func(t *testing.T, key, value string) {
			t.Helper()
			r := runTokens(t, name, func(s *site, declared map[string]any) { declared[key] = s.fill(value, time.Time{}) })
			claims, _ := r.site.fill(map[string]any{
				"iss": r.file.SourceIssuer, "aud": "idpsync", "iat": "NOW", "exp": "NOW+3600", "sub": "b2c", "email": "b2c@x.example", "name": "B",
			}, time.Now()).(map[string]any)
			r.Publish(workertest.LoginSubject(workertest.Acme, source), "b2c", r.site.login(claims, nil))
			wantUser(t, r.Await("b2c"), 201, record.OutcomeCreated, "user")
		}
		t.Run("discovery_url", func(t *testing.T) {
			login(t, "discovery_url", "ISSUER/TENANT/b2c_1_signin/v2.0/.well-known/openid-configuration")
		})
		t.Run("jwks_url", func(t *testing.T) { login(t, "jwks_url", "ISSUER/TENANT/b2c_1_signin/discovery/v2.0/keys") })
	},
	"names.json": func(t *testing.T, name string) {
		t.Parallel()
		d := newCommands(t)
		var all []struct {
			Name   string `json:"name"`
			Expect any    `json:"expect"`
		}
		readCase(t, name, &all)
		for i, c := range all {
			r := d.command("v1.users.create", map[string]any{"email": "n" + strconv.Itoa(i) + "@acme.example", "name": c.Name, "auth_provider": "oidc"})
			wantExpected(t, c.Name, r, c.Expect, "")
		}
	},
	"emails.json": func(t *testing.T, name string) {
		t.Parallel()
		d := newCommands(t)
		var all []struct {
			Email  string `json:"email"`
			Expect any    `json:"expect"`
		}
		readCase(t, name, &all)
		for _, c := range all {
			r := d.command("v1.users.create", map[string]any{"email": c.Email, "name": "Somebody", "auth_provider": "oidc"})
			says := ""
			if strings.HasSuffix(c.Email, " ") {
				says = "a space at its end"
			}
			wantExpected(t, c.Email, r, c.Expect, says)
		}
	},
	"mononym-organization-shape.json": func(t *testing.T, name string) {
		t.Parallel()
		d := newCommands(t)
		var body map[string]any
		readCase(t, name, &body)
		wantRefused(t, d.Deployment, d.command("users.create", body), record.CodeInvalidInput, "", `"field":"lastName"`)
	},

	"saml-shibboleth-oids.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		wantUser(t, r.logIn("login", r.request()), 201, record.OutcomeCreated, "user")
		if u := r.User(workertest.Acme, "ada@uni.example"); u.Name != "Ada Lovelace" {
			t.Errorf("the user is called %q, want Ada Lovelace", u.Name)
		}
	},
	"saml-adfs-claims.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		wantUser(t, r.logIn("login", r.request()), 201, record.OutcomeCreated, "admin", "user")
		if u := r.User(workertest.Acme, "ken@corp.example"); u.Name != "Ken Kay" {
			t.Errorf("the user is called %q, want Ken Kay", u.Name)
		}
	},
	"saml-idp-initiated.json": func(t *testing.T, name string) {
		var file assertionCase
		readCase(t, name, &file)
		for i, c := range file.Cases {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				r := runSAML(t, name, idp.Options{}, func(s map[string]any) { s["idp_initiated"] = c.IDPInitiated })
				q := r.request()
				q.InResponseTo = c.InResponseTo
				body := r.publish("login", q, "")
				if !c.IDPInitiated || c.InResponseTo != "" {
					wantRefused(t, r.Deployment, r.Await("login"), record.CodeUnauthenticated, "in_response_to")
					return
				}
				wantUser(t, r.Await("login"), 201, record.OutcomeCreated, "user")
				r.Publish(workertest.LoginSubject(workertest.Acme, source), "again", body)
				wantRefused(t, r.Deployment, r.Await("again"), record.CodeUnauthenticated, "assertion_replayed")
			})
		}
	},
	"saml-white-space.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		for i, tag := range r.file.Pad {
			q := r.request()
			q.NameID = "padded" + strconv.Itoa(i)
			q.Attributes = []idp.Attribute{{Name: "mail", Values: []string{q.NameID + "@uni.example"}}}
			q.Edit = func(_, assertion *etree.Element) {
				el := element(assertion, tag)
				el.SetText("\n      " + el.Text() + "\n    ")
			}
			wantUser(t, r.logIn("padded "+tag, q), 201, record.OutcomeCreated, "user")
			r.User(workertest.Acme, q.NameID+"@uni.example")
			q.Edit = nil
			wantUser(t, r.logIn("plain "+tag, q), 200, record.OutcomeExists, "user")
		}
	},
	"saml-name-qualifier.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		wantUser(t, r.logIn("first", r.request()), 201, record.OutcomeCreated, "user")
		wantUser(t, r.logIn("second", r.request()), 200, record.OutcomeExists, "user")
	},
	"saml-clock-180.json": func(t *testing.T, name string) {
		t.Run("waits", func(t *testing.T) {
			r := runSAML(t, name, idp.Options{})
			q := r.request()
			r.publish("ahead", q, q.InResponseTo)
			r.awaitParked()
			r.Clock.Advance(90 * time.Second)
			wantUser(t, r.Await("ahead"), 201, record.OutcomeCreated, "user")
			wantNoLetters(t, r.Deployment)
		})
		t.Run("within the skew", func(t *testing.T) {
			r := runSAML(t, name, idp.Options{}, func(s map[string]any) { s["clock_skew"] = "4m" })
			wantUser(t, r.logIn("ahead", r.request()), 201, record.OutcomeCreated, "user")
		})
	},
	"saml-empty-first-mail.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		wantUser(t, r.logIn("login", r.request()), 201, record.OutcomeCreated, "user")
		r.User(workertest.Acme, "em@uni.example")
	},
	"saml-group-values.json": func(t *testing.T, name string) {
		r := runSAML(t, name, idp.Options{})
		logIn := func(i int) workertest.Record {
			q := r.request()
			q.NameID = "g" + strconv.Itoa(i)
			q.Attributes = []idp.Attribute{
				{Name: "mail", Values: []string{q.NameID + "@uni.example"}},
				{Name: "http://schemas.microsoft.com/ws/2008/06/identity/claims/role", Values: r.file.Values[i]},
			}
			return r.logIn(q.NameID, q)
		}
		wantRefused(t, r.Deployment, logIn(0), record.CodeInvalidInput, "", "commas", `.split(\",\")`)
		wantUser(t, logIn(1), 201, record.OutcomeCreated, "admin")
		wantUser(t, logIn(2), 201, record.OutcomeCreated)
		wantUser(t, logIn(3), 201, record.OutcomeCreated)
	},
	"saml-expired-idp-certificate.json": func(t *testing.T, name string) {
		old := idp.Options{Now: func() time.Time { return time.Now().AddDate(-2, 0, 0) }, Lifetime: 365 * 24 * time.Hour}
		t.Run("as it is", func(t *testing.T) {
			r := runSAML(t, name, old)
			q := r.request()
			q.At = time.Now()
			wantRefused(t, r.Deployment, r.logIn("login", q), record.CodeUnauthenticated, "certificate_expired", "allow_expired_certificates")
			read, err := declare(t, samlSource(filepath.Join(r.Folder(), "idp.xml")))
			if err != nil {
				t.Fatalf("a source whose certificate has expired is not applied: %v", err)
			}
			if said := read.Warnings.Error(); !strings.Contains(said, "expired") || !strings.Contains(said, "allow_expired_certificates") {
				t.Errorf("apply warns of %q, want the expired certificate and the setting", said)
			}
		})
		t.Run("accepted", func(t *testing.T) {
			r := runSAML(t, name, old, func(s map[string]any) { s["allow_expired_certificates"] = true })
			q := r.request()
			q.At = time.Now()
			wantUser(t, r.logIn("login", q), 201, record.OutcomeCreated, "user")
		})
	},
	"saml-encrypted-nameid.xml": func(t *testing.T, name string) {
		encrypted := func(r *samlRun) idp.Request {
			q := r.request()
			q.Attributes = []idp.Attribute{{Name: "mail", Values: []string{"enc@uni.example"}}, {Name: "eduPersonUniqueId", Values: []string{"u1"}}}
			q.Edit = func(_, assertion *etree.Element) {
				doc := etree.NewDocument()
				if err := doc.ReadFromBytes(readFile(t, name)); err != nil {
					t.Fatalf("read %s: %v", name, err)
				}
				subject := element(assertion, "Subject")
				subject.RemoveChild(element(subject, "NameID"))
				subject.InsertChildAt(0, doc.Root())
			}
			return q
		}
		t.Run("decrypted", func(t *testing.T) {
			r := runSAML(t, name, idp.Options{}, withKey(t))
			wantUser(t, r.logIn("first", encrypted(r)), 201, record.OutcomeCreated, "user")
			wantUser(t, r.logIn("second", encrypted(r)), 200, record.OutcomeExists, "user")
		})
		t.Run("passed over", func(t *testing.T) {
			r := runSAML(t, name, idp.Options{}, func(s map[string]any) {
				s["mapping"] = map[string]string{"subject": `attributes["eduPersonUniqueId"][0]`}
			})
			wantUser(t, r.logIn("first", encrypted(r)), 201, record.OutcomeCreated, "user")
			wantUser(t, r.logIn("second", encrypted(r)), 200, record.OutcomeExists, "user")
		})
		t.Run("without a key", func(t *testing.T) {
			r := runSAML(t, name, idp.Options{})
			wantRefused(t, r.Deployment, r.logIn("first", encrypted(r)), record.CodeUnauthenticated, "name_id", "key_file", "mapping.subject")
		})
	},
	"federation-good.xml":             func(t *testing.T, name string) { appliesAndLogsIn(t, readFile(t, name), "https://idp7.example/idp") },
	"federation-one-odd-endpoint.xml": func(t *testing.T, name string) { appliesAndLogsIn(t, readFile(t, name), "https://idp7.example/idp") },
	"metadata-utf16.xml":              func(t *testing.T, name string) { appliesAndLogsIn(t, readFile(t, name), "") },
	"metadata-bom.xml":                func(t *testing.T, name string) { appliesAndLogsIn(t, readFile(t, name), "") },
}

// others are files beside the cases.
var others = []string{"README.md", "signing-key.pem", "sp-cert.pem", "sp-key.pem"}

var created = func(t *testing.T, name string) {
	wantUser(t, runTokens(t, name).logIn(0), 201, record.OutcomeCreated, "user")
}

func TestCases(t *testing.T) {
	entries, err := os.ReadDir(at(""))
	if err != nil {
		t.Fatalf("read the folder of cases: %v", err)
	}
	for _, e := range entries {
		if _, ok := cases[e.Name()]; !ok && !slices.Contains(others, e.Name()) {
			t.Errorf("no test says what %s should give", e.Name())
		}
	}
	for name, test := range cases {
		t.Run(strings.TrimSuffix(name, filepath.Ext(name)), func(t *testing.T) { test(t, name) })
	}
}

// A large federation applies, and only what a source needs of it is kept.
func TestLargeFederation(t *testing.T) {
	appliesAndLogsIn(t, federation(t, 2<<20), "https://idp7.example/idp")
}

func TestFederationBeyondTheLimit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "federation.xml")
	if err := os.WriteFile(file, federation(t, 17<<20), 0o600); err != nil {
		t.Fatalf("write the metadata: %v", err)
	}
	declared := samlSource(file)
	declared["issuer"] = "https://idp7.example/idp"
	wantFault(t, declared, "16 MiB", "metadata_url", "MDQ")
}

// federation repeats an entity of the good federation under other names until there are so many bytes.
func federation(t *testing.T, size int) []byte {
	t.Helper()
	doc := string(readFile(t, "federation-good.xml"))
	const first = `<md:EntityDescriptor entityID="https://idp0.example/idp">`
	from := strings.Index(doc, first)
	one, _, ok := strings.Cut(doc[from:], "</md:EntityDescriptor>")
	if from < 0 || !ok {
		t.Fatal("the good federation does not begin with idp0")
	}
	var more strings.Builder
	for i := 100; more.Len() < size; i++ {
		more.WriteString(strings.ReplaceAll(one, "idp0.example", "idp"+strconv.Itoa(i)+".example") + "</md:EntityDescriptor>")
	}
	return []byte(doc[:from] + more.String() + doc[from:])
}

// appliesAndLogsIn applies a source with the metadata, whose certificate is that of the signing key, and logs somebody in.
func appliesAndLogsIn(t *testing.T, metadata []byte, issuer string) {
	t.Helper()
	t.Parallel()
	d := workertest.New(t, workertest.Options{Unapplied: true})
	file := filepath.Join(d.Folder(), "metadata.xml")
	if err := os.WriteFile(file, metadata, 0o600); err != nil {
		t.Fatalf("write the metadata: %v", err)
	}
	declared := samlSource(file)
	if issuer != "" {
		declared["issuer"] = issuer
	}
	read, err := declare(t, declared)
	if err != nil {
		t.Fatalf("the metadata do not apply: %v", err)
	}
	i := slices.IndexFunc(read.Directory.Sources, func(s store.Source) bool { return s.Name == source })
	kept, err := assemble.Kinds().Source(workertest.Acme, source, providers.KindSAML, read.Directory.Sources[i].Config)
	if err != nil {
		t.Fatalf("the source that is kept cannot be read: %v", err)
	}
	if n := len(read.Directory.Sources[i].Config); n > 64<<10 {
		t.Errorf("the source is kept in %d bytes, want its own entity alone", n)
	}
	p, err := idp.New(idp.Options{EntityID: kept.Issuer, Key: readKey(t, "signing-key.pem")})
	if err != nil {
		t.Fatalf("make the identity provider: %v", err)
	}
	d.Apply(directory(t, declared))
	d.Start()
	r := &samlRun{Deployment: d, idp: p}
	wantUser(t, r.logIn("login", r.request()), 201, record.OutcomeCreated, "user")
}

// withKey gives a source the key of the cases.
func withKey(t *testing.T) func(map[string]any) {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"sp-key.pem", "sp-cert.pem"} {
		if err := os.WriteFile(filepath.Join(folder, name), readFile(t, name), 0o600); err != nil {
			t.Fatalf("copy a key: %v", err)
		}
	}
	return func(s map[string]any) {
		s["key_file"], s["certificate_file"] = filepath.Join(folder, "sp-key.pem"), filepath.Join(folder, "sp-cert.pem")
	}
}

// declare reads a directory with the source as idpsync apply does.
func declare(t *testing.T, declared map[string]any) (manifest.Declaration, error) {
	t.Helper()
	kinds := assemble.Kinds()
	make := func(s providers.Source) (providers.Provider, error) {
		kind, _ := kinds.Of(s.Kind)
		env, _, _ := providertest.Environment(t, providertest.NewClock())
		env.Now = time.Now
		return kind.New(s, env)
	}
	return manifest.Parse(filepath.Join(t.TempDir(), "directory.yaml"), []byte(directory(t, declared)), manifest.Options{
		Kinds: kinds,
		CheckSource: func(s providers.Source) ([]string, error) {
			p, err := make(s)
			if err != nil {
				return nil, err
			}
			if r, ok := p.(providers.Reviewer); ok {
				return r.Review(time.Now())
			}
			return nil, nil
		},
		ReadIssuer: func(s providers.Source) (string, error) { return saml.EntityID(t.Context(), s, &http.Client{}) },
	})
}

// wantFault fails the test unless the source is not applied, for a reason that says these words.
func wantFault(t *testing.T, declared map[string]any, words ...string) {
	t.Helper()
	_, err := declare(t, declared)
	if err == nil {
		t.Errorf("a source of %v is applied, want a fault", declared["issuer"])
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the fault does not say %q: %v", word, err)
		}
	}
}

func wantNoLetters(t *testing.T, d *workertest.Deployment) {
	t.Helper()
	if letters := d.AllLetters(); len(letters) != 0 {
		t.Errorf("there are %d dead letters, the first %s %s; want none", len(letters), letters[0].Code, letters[0].Reason)
	}
}

// commands is a deployment that takes commands.
type commands struct {
	*workertest.Deployment
	header providers.Header
	sent   int
}

func newCommands(t *testing.T) *commands {
	t.Helper()
	d := workertest.New(t, workertest.Options{Unapplied: true})
	d.Apply(directory(t))
	d.Start()
	return &commands{Deployment: d, header: providers.Header{"Authorization": {"Bearer " + d.Credential(workertest.Acme, "user", "viewer")}, "X-Tenant-ID": {workertest.Acme}}}
}

func (c *commands) command(action string, body map[string]any) workertest.Record {
	c.T.Helper()
	c.sent++
	id := "command-" + strconv.Itoa(c.sent)
	c.PublishWith("idpsync.command."+workertest.Acme+"."+action, id, workertest.Payload(body), c.header)
	return c.Await(id)
}

// provision has the HR feed create the person of a case first.
func (r *loginRun) provision() {
	r.T.Helper()
	token := r.Credential(workertest.Acme, "user")
	r.PublishWith(workertest.FeedSubject(workertest.Acme, "hr"), "hired", workertest.Payload(r.file.FeedFirst), providers.Header{"Authorization": {"Bearer " + token}})
	if hired := r.Await("hired"); hired.Status != 201 {
		r.T.Fatalf("the feed got %d %s, want 201", hired.Status, hired.Data)
	}
}

// wantExpected compares a result with what a file expects: a status, or words that begin with one or say "or" another.
func wantExpected(t *testing.T, what string, r workertest.Record, expect any, says string) {
	t.Helper()
	text := fmt.Sprint(expect)
	if !strings.Contains(text, strconv.Itoa(r.Status)) {
		t.Errorf("%q got %d %s, want %s", what, r.Status, r.Data, text)
	}
	if r.Status == 400 && !strings.Contains(string(r.Data), says) {
		t.Errorf("%q got %s, want words that say %q", what, r.Data, says)
	}
}
