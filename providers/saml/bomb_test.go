package saml_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

// maxBombMemory is what one hostile event may allocate, all told.
const maxBombMemory = 64 << 20

func TestBombs(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	for name, doc := range bombs(string(w.respond(t))) {
		t.Run(name, func(t *testing.T) {
			e := w.login(t, []byte(doc))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := p.Verify(t.Context(), e)
			runtime.ReadMemStats(&after)
			if err == nil || errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("Verify: %v, want a permanent failure", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > maxBombMemory {
				t.Errorf("allocated %d bytes, want at most %d", used, maxBombMemory)
			}
		})
	}
}

func BenchmarkBomb(b *testing.B) {
	w := newWorld(b)
	p := w.provider(b)
	for name, doc := range bombs(string(w.respond(b))) {
		b.Run(name, func(b *testing.B) {
			e := w.login(b, []byte(doc))
			e.Trace = nil
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Verify(b.Context(), e); err == nil {
					b.Fatal("a bomb is accepted, want an error")
				}
			}
		})
	}
}
