package directory

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// A verifierOf vouches for every token.
type verifierOf struct {
	providers.Provider
	providers.TokenVerifier
}

func TestTokensAreHandedToTheSourceOfTheirIssuer(t *testing.T) {
	t.Parallel()
	source := func(name, issuer string, commands bool, kind providers.Kind) *Source {
		return &Source{
			Source: providers.Source{Name: name, Issuer: issuer, Kind: kind}, Provider: verifierOf{},
			kind: &providers.Descriptor{Kind: kind, Commands: func(providers.Source) bool { return commands }},
		}
	}
	tenant := &Tenant{sources: map[string]*Source{
		"b":         source("b", "https://one.example", true, providers.KindOIDC),
		"a":         source("a", "https://one.example", true, providers.KindOIDC),
		"no":        source("no", "https://one.example", false, providers.KindOIDC),
		"saml":      {Source: providers.Source{Name: "saml", Issuer: "https://one.example", Kind: providers.KindSAML}, kind: &providers.Descriptor{Kind: providers.KindSAML}},
		"elsewhere": source("elsewhere", "https://two.example", true, providers.KindOIDC),
	}}
	for issuer, want := range map[string]string{"https://one.example": "[a b]", "https://two.example": "[elsewhere]", "https://three.example": "[]", "": "[]"} {
		names := []string{}
		for _, s := range tenant.tokenSources(issuer) {
			names = append(names, s.Name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("a token of issuer %q is handed to %s, wanted %s", issuer, got, want)
		}
	}
	if got := (*Tenant)(nil).tokenSources("https://one.example"); got != nil {
		t.Errorf("a token for a tenant that is not there is handed to %v, wanted nobody", got)
	}
}

func TestACredentialIsBelievedForAsLongAsTheStoreIsFollowed(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	storetest.Seed(t, s)
	row := store.Credential{ID: "aaaaaaaaaaaaaaaa", Tenant: storetest.Acme, Name: "hr", SecretHash: make([]byte, 32), CreatedAt: storetest.Time}
	if err := s.CreateCredential(t.Context(), row, "test"); err != nil {
		t.Fatalf("make a credential: %v", err)
	}
	now := storetest.Time
	follow := func() *Credentials {
		c := NewCredentials(s, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		c.refresh(t.Context())
		return c
	}
	looks, looksNoMore := follow(), follow()
	revoked := func(c *Credentials, want bool, when string) {
		t.Helper()
		got, err := c.Credential(t.Context(), row.ID)
		if err != nil || got.RevokedAt.IsZero() == want {
			t.Errorf("%s the credential is known as revoked: %v, wanted %v: %v", when, !got.RevokedAt.IsZero(), want, err)
		}
	}
	revoked(looks, false, "at first")
	revoked(looksNoMore, false, "at first")
	if err := s.RevokeCredential(t.Context(), row.ID, "test", storetest.Time); err != nil {
		t.Fatalf("revoke it: %v", err)
	}
	revoked(looks, false, "until the store is looked at again,")
	looks.refresh(t.Context())
	revoked(looks, true, "after a look")
	now = now.Add(credentialsStale)
	revoked(looksNoMore, true, "after too long without a look")
}
