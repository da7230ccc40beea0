package saml_test

import (
	"encoding/base64"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/saml/idp"
)

// BenchmarkSideBySide verifies the same Responses with us and with crewjam's ParseXMLResponse alone, turn by turn so
// that both meet the same machine, and reports verifications per second of CPU time: go test -run xxx -bench Side .
func BenchmarkSideBySide(b *testing.B) {
	w := newWorld(b)
	p := w.provider(b)
	sp := crewjamProvider(b, w, w.clock.Now())
	for _, c := range []struct {
		name   string
		change func(*idp.Request)
	}{
		{"response", func(r *idp.Request) { r.Mode = idp.SignResponse }},
		{"assertion", func(r *idp.Request) { r.Mode = idp.SignAssertion }},
		{"both", func(r *idp.Request) { r.Mode = idp.SignBoth }},
		{"encrypted", func(r *idp.Request) { r.Mode, r.Encrypt = idp.SignAssertion, idp.AES256CBC }},
	} {
		doc := w.respond(b, c.change)
		e := w.login(b, doc)
		e.Trace = nil
		encoded := base64.StdEncoding.EncodeToString(doc)
		b.Run(c.name, func(b *testing.B) {
			const turn = 50
			var ours, theirs time.Duration
			for b.Loop() {
				ours += cpu(b, func() {
					for range turn {
						_, err := p.Verify(b.Context(), e)
						check(b, err)
					}
				})
				theirs += cpu(b, func() {
					for range turn {
						raw, err := base64.StdEncoding.DecodeString(encoded)
						check(b, err)
						_, err = sp.ParseXMLResponse(raw, []string{request}, sp.AcsURL)
						check(b, err)
					}
				})
			}
			n := float64(b.N * turn)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/ours.Seconds(), "ours/cpu-s")
			b.ReportMetric(n/theirs.Seconds(), "crewjam/cpu-s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times")
			b.ReportMetric(float64(len(doc)), "bytes")
		})
	}
}

// cpu returns the CPU time of the process that f took, garbage collection included.
func cpu(b *testing.B, f func()) time.Duration {
	b.Helper()
	before := used(b)
	f()
	runtime.GC()
	return used(b) - before
}

func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	p := w.provider(b)
	e := w.login(b, w.respond(b))
	e.Trace = nil
	b.ReportAllocs()
	for b.Loop() {
		_, err := p.Verify(b.Context(), e)
		check(b, err)
	}
}
