package main

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// Tenants of the former deployment.
const (
	hooli   = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	initech = "5489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
)

const formerFolder = "testdata/upgrade"

// A former site is a deployment whose database an earlier version of the program has filled; testdata/upgrade/README.md
// says with whom. Its issuers and IdPs have the keys of that time.
type former struct {
	*site
	base    string
	issuers map[string]*issuer.Issuer
	idps    map[string]*idp.IdP
	tokens  map[string]string // of credentials, by tenant/name
}

// formerSite loads the database of that kind. Nothing has migrated it yet.
func formerSite(t *testing.T, kind string) *former {
	t.Helper()
	f := &former{site: newSite(t), issuers: map[string]*issuer.Issuer{}, idps: map[string]*idp.IdP{}, tokens: map[string]string{}}
	web := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(web.Close)
	f.base = web.URL
	for _, name := range []string{"okta", "ping", "old", "before", "after"} {
		made, err := issuer.New(issuer.Options{URL: f.base + "/" + name, Algorithms: []string{"ES256"}})
		if err != nil {
			t.Fatal(err)
		}
		made.Withdraw(made.KeyID())
		made.Publish(issuer.Key{ID: name, Algorithm: "ES256", Use: "sig", Private: formerKey(t, name)})
		f.issuers[name] = made
	}
	for name, entity := range map[string]string{"adfs": "https://adfs.acme.example/saml", "shib": "https://shib.campus.example/idp"} {
		made, err := idp.New(idp.Options{EntityID: entity, Key: formerKey(t, name)})
		if err != nil {
			t.Fatal(err)
		}
		f.idps[name] = made
	}
	f.write("adfs.xml", formerFile(t, "adfs.xml"))
	f.write("directory.yaml", f.placed(formerFile(t, "directory.yaml")))
	f.write("directory-first.yaml", f.placed(formerFile(t, "directory-first.yaml")))
	f.write("data/seal.key", formerFile(t, kind+"/seal.key"))
	if err := json.Unmarshal([]byte(formerFile(t, kind+"/tokens.json")), &f.tokens); err != nil {
		t.Fatal(err)
	}
	o := store.Options{Path: f.path("data/" + sqliteFile)}
	if kind == store.Postgres {
		o = storetest.Empty(t, kind)
		f.environ["IDPSYNC_DATABASE_URL"], f.data = o.URL, o
		f.environ["IDPSYNC_SEAL_KEY_FILE"] = f.path("data/seal.key")
	}
	storetest.Load(t, o, f.placed(formerFile(t, kind+"/dump.sql")))
	return f
}

func formerFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(formerFolder, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func formerKey(t *testing.T, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode([]byte(formerFile(t, "keys/"+name+".pem")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		t.Fatalf("the key of %s cannot sign", name)
	}
	return signer
}

// placed puts the address of this web server in the place of the former one.
func (f *former) placed(text string) string { return strings.ReplaceAll(text, "BASE", f.base) }

func (f *former) serve(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case f.issuers[name] != nil:
		f.issuers[name].ServeHTTP(w, r)
	case f.idps[name] != nil:
		f.idps[name].Handler().ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// oidc makes a login of a subject at one of the issuers, with a verified address unless more says otherwise.
func (f *former) oidc(t *testing.T, name, subject, email string, more map[string]any) []byte {
	t.Helper()
	audience := "idpsync"
	if strings.HasSuffix(email, "@hooli.example") {
		audience = "hooli"
	}
	claims := f.issuers[name].Claims(subject, audience)
	maps.Copy(claims, map[string]any{"email": email, "email_verified": true, "name": subject})
	maps.Copy(claims, more)
	body, err := login(f.issuers[name].Sign(claims))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// saml makes a login at one of the IdPs.
func (f *former) saml(t *testing.T, name, nameID, email string) []byte {
	t.Helper()
	return assertion(t, f.idps[name], "https://sp.acme.example/"+name, nameID, email)
}

// assertion makes the payload of a login that nobody asked for, at the service provider of that entityID.
func assertion(t *testing.T, p *idp.IdP, serviceProvider, nameID, email string) []byte {
	t.Helper()
	request := idp.Request{EntityID: serviceProvider, ACSURL: serviceProvider + "/acs", NameID: nameID}
	if email != "" {
		request.Attributes = []idp.Attribute{{Name: "mail", Values: []string{email}}, {Name: "displayName", Values: []string{nameID}}}
	}
	xml, err := p.Respond(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestFormerDeploymentsLoad shows that both fixtures hold the same people.
func TestFormerDeploymentsLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := formerSite(t, kind)
			f.must("migrate", "--only", "schema")
			for tenant, want := range map[string]int{acme: 27, globex: 2, hooli: 1, initech: 6} {
				if users := f.users(tenant); len(users) != want {
					t.Errorf("tenant %s: got %d users, wanted %d", tenant, len(users), want)
				}
			}
		})
	}
}
