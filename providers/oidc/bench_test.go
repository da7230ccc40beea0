package oidc_test

import (
	"crypto"
	"testing"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

var algorithms = []string{"RS256", "ES256", "EdDSA"}

// BenchmarkVerify measures a whole verification with its mapping, with keys known.
func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range algorithms {
		b.Run(algorithm, func(b *testing.B) {
			w := newWorld(b, []string{algorithm}, nil)
			e := w.login(b, w.sign(b, w.claims(map[string]any{"groups": []string{"user", "staff"}})))
			if _, err := w.provider.Verify(b.Context(), e); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.provider.Verify(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLibrary is the yardstick: go-oidc alone with a static key, the same token, and no mapping.
func BenchmarkLibrary(b *testing.B) {
	for _, algorithm := range algorithms {
		b.Run(algorithm, func(b *testing.B) {
			w := newWorld(b, []string{algorithm}, nil)
			token := w.sign(b, w.claims(map[string]any{"groups": []string{"user", "staff"}}))
			keys := &goidc.StaticKeySet{PublicKeys: []crypto.PublicKey{w.issuer.Keys()[0].Private.Public()}}
			v := goidc.NewVerifier(w.server.URL, keys, &goidc.Config{ClientID: client, SupportedSigningAlgs: []string{algorithm}, Now: w.clock.Now})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
