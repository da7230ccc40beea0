package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// certificateFiles writes a certificate for loopback with its key, as renewed at the time at.
func certificateFiles(t *testing.T, folder string, serial int64, at time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "idpsync"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	d := &doors{failed: make(chan error, 4), addresses: map[string]string{}}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-d.failed:
			t.Error("a door failed: ", err)
		default:
		}
	})
	return d
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestCertificateIsReadAgainWhenItIsRenewed(t *testing.T) {
	folder := t.TempDir()
	begin := time.Now().Add(-time.Hour)
	cert, key := certificateFiles(t, folder, 1, begin)
	d := newDoors(t)
	at, err := d.listen(t.Context(), "--http-listen", "127.0.0.1:0", http.NotFoundHandler(), newCertificates(cert, key), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // which certificate comes is what is looked at
		c, err := dialer.DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	certificateFiles(t, folder, 2, begin.Add(time.Minute))
	if n := serial(); n != 2 {
		t.Errorf("after the renewal: certificate %d, want 2", n)
	}
	if err := os.WriteFile(key, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 2 {
		t.Errorf("after a broken renewal: certificate %d, want 2", n)
	}
	old := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}} //nolint:gosec // it must be refused
	if c, err := old.DialContext(t.Context(), "tcp", at); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestListenerIsBoundedAndAnswersWhatItLetIn(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	d := &doors{failed: make(chan error, 4), addresses: map[string]string{}}
	at, err := d.listen(t.Context(), "--http-listen", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}), nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	get := func(path, header string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+path, nil)
		if err != nil {
			return 0, "", err
		}
		req.Header.Set("X-Test", header)
		res, err := transport.RoundTrip(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	if status, _, err := get("/", strings.Repeat("h", maxHeader/2)); err != nil || status != http.StatusOK {
		t.Errorf("a header within the limit is answered by %d with the error %v, want 200", status, err)
	}
	if status, _, err := get("/", strings.Repeat("h", 2*maxHeader)); err == nil && status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header beyond the limit is answered by %d, want 431", status)
	}
	answered := make(chan string, 1)
	go func() {
		_, body, err := get("/slow", "")
		if err != nil {
			body = err.Error()
		}
		answered <- body
	}()
	<-entered
	closed := make(chan error, 1)
	go func() { closed <- d.close() }()
	close(release)
	if body := <-answered; body != "done" {
		t.Errorf("the request that was let in is answered by %q, want done", body)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, _, err := get("/", ""); err == nil {
		t.Error("the listener still answers")
	}
}

func TestAddressInUseIsSaidWithAHint(t *testing.T) {
	d := newDoors(t)
	at, err := d.listen(t.Context(), "--http-listen", "127.0.0.1:0", http.NotFoundHandler(), nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.listen(t.Context(), "--http-listen", at, http.NotFoundHandler(), nil, testLog(t))
	failed, ok := errors.AsType[*kit.Error](err)
	if !ok || failed.Code != kit.ExitFailure || !strings.Contains(failed.Hint, "--http-listen") {
		t.Errorf("got error %v for an address in use, want exit code %d and a hint that names --http-listen", err, kit.ExitFailure)
	}
}

func TestMetricsBoundTheirSources(t *testing.T) {
	m := NewMetrics("test")
	for i := range 2 * maxSources {
		m.Outcome("source-"+big.NewInt(int64(i)).String(), "stream", "rejected", "unknown_source")
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "idpsync_events_total" && len(f.GetMetric()) != maxSources+1 {
			t.Errorf("%d time series, want %d", len(f.GetMetric()), maxSources+1)
		}
	}
	m.Paused(true)
	m.Paused(false)
	m.Parked(3)
}
