package main

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// A federation is a site with any number of issuers and SAML IdPs. One web server on loopback serves them all: the issuer
// okta at BASE/okta, the metadata of the IdP adfs at BASE/adfs/metadata. In files that it writes BASE stands for the
// address of the server.
type federation struct {
	*site
	base string

	mu      sync.Mutex
	issuers map[string]*issuer.Issuer
	idps    map[string]*idp.IdP
}

// newFederation makes a federation that keeps its data in SQLite or in PostgreSQL. The broker is the embedded one.
func newFederation(t *testing.T, kind string) *federation {
	t.Helper()
	f := &federation{site: newSite(t), issuers: map[string]*issuer.Issuer{}, idps: map[string]*idp.IdP{}}
	web := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(web.Close)
	f.base = web.URL
	if kind == store.Postgres {
		f.data = storetest.Empty(t, kind)
		f.environ["IDPSYNC_DATABASE_URL"] = f.data.URL
	}
	return f
}

func (f *federation) serve(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.mu.Lock()
	i, p := f.issuers[name], f.idps[name]
	f.mu.Unlock()
	switch {
	case i != nil:
		i.ServeHTTP(w, r)
	case p != nil:
		p.Handler().ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// placed puts the address of the web server in the place of BASE.
func (f *federation) placed(text string) string { return strings.ReplaceAll(text, "BASE", f.base) }

// issuerAt returns the issuer at BASE/name, which is made when it is first asked for.
func (f *federation) issuerAt(t *testing.T, name string) *issuer.Issuer {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.issuers[name] == nil {
		made, err := issuer.New(issuer.Options{URL: f.base + "/" + name, Algorithms: []string{"ES256"}})
		if err != nil {
			t.Fatal(err)
		}
		f.issuers[name] = made
	}
	return f.issuers[name]
}

// publish makes an IdP that serves its metadata at BASE/name/metadata, in the place of the one that was there. A nil key
// means a new one.
func (f *federation) publish(t *testing.T, name, entityID string, key crypto.Signer) *idp.IdP {
	t.Helper()
	made, err := idp.New(idp.Options{EntityID: f.placed(entityID), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idps[name] = made
	return made
}

// token makes the payload of a login of a subject at an issuer, with a verified address unless more says otherwise. A
// claim that is nil is left out.
func (f *federation) token(t *testing.T, name, subject, email string, more map[string]any) []byte {
	t.Helper()
	i := f.issuerAt(t, name)
	claims := i.Claims(subject, "idpsync")
	maps.Copy(claims, map[string]any{"email": email, "email_verified": true, "name": "Person " + subject})
	for name, value := range more {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	body, err := kit.Login(i.Sign(claims))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// assertion makes the payload of a SAML login that no request asked for, at the service provider of that entityID.
func assertion(t *testing.T, p *idp.IdP, serviceProvider, nameID, email string) []byte {
	t.Helper()
	xml, err := p.Respond(idp.Request{
		EntityID: serviceProvider, ACSURL: serviceProvider + "/acs", NameID: nameID,
		Attributes: []idp.Attribute{{Name: "mail", Values: []string{email}}, {Name: "displayName", Values: []string{nameID}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
