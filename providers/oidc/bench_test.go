package oidc_test

import (
	"testing"
)

// BenchmarkVerify measures a whole verification with its mapping, on one core, with keys known.
func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
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
