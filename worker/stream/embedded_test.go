package stream_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/worker/stream"
)

func TestEmbeddedKeepsItsPasswordSecretAndItsStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	var out logBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	options := stream.EmbeddedOptions{DataDir: dir, Listen: "127.0.0.1:0", Log: log}

	if _, err := stream.ReadCredentials(dir); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, stream.ErrUnreachable) {
		t.Fatalf("before the first start the error is %v, want %v and %v", err, fs.ErrNotExist, stream.ErrUnreachable)
	}
	s, err := stream.Embedded(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	first, err := stream.ReadCredentials(dir)
	if err != nil || first != s.Credentials() || first.URL != s.URL() || strings.HasSuffix(first.URL, ":0") {
		t.Fatalf("the credentials are %+v with the error %v, want those of the server at %s", first, err, s.URL())
	}
	for _, name := range []string{"nats.json", "nats.env"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode of %v with the error %v, want 0600", name, info, err)
		}
	}
	in := dial(t, stream.Options{InProcess: s, Log: log})
	if _, err := stream.Migrate(t.Context(), in, s.Topology()); err != nil {
		t.Fatal(err)
	}
	publish(t, in, events(5, "feed", "f"))
	if _, err := stream.Connect(t.Context(), stream.Options{URL: s.URL(), Log: log}); !errors.Is(err, stream.ErrRefused) {
		t.Errorf("connecting without credentials ends with %v, want %v", err, stream.ErrRefused)
	}
	in.Close()
	s.Shutdown()
	s.Shutdown()

	again, err := stream.Embedded(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Shutdown()
	if again.Credentials().Password != first.Password {
		t.Error("the password changed over a restart")
	}
	c := dial(t, again.Credentials().Options())
	if n := count(t, c, stream.StreamEvents); n != 5 {
		t.Errorf("%d events are there after a restart, want 5", n)
	}
	password := first.Password.Reveal()
	if len(password) < 32 {
		t.Error("the password is short")
	}
	if text := out.String() + again.PlainClientHint(); strings.Contains(text, password) {
		t.Error("the password is in the log or in the hint")
	}
	if !strings.Contains(again.PlainClientHint(), filepath.Join(dir, "nats.env")) {
		t.Errorf("the hint is %q, want it to name the file nats.env", again.PlainClientHint())
	}
}

// The plain client reads its login from the environment, which the hint's file sets.
func TestEnvironmentFileHoldsALoginThatWorks(t *testing.T) {
	dir := t.TempDir()
	s, err := stream.Embedded(t.Context(), stream.EmbeddedOptions{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	raw, err := os.ReadFile(filepath.Join(dir, "nats.env"))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		env[name] = strings.Trim(value, "'")
	}
	nc, err := nats.Connect(env["NATS_URL"], nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestOpenBrokerNeedsNoLoginAndStaysOnLoopback(t *testing.T) {
	dir := t.TempDir()
	_, err := stream.Embedded(t.Context(), stream.EmbeddedOptions{DataDir: dir, Listen: "0.0.0.0:0", Open: true})
	if !errors.Is(err, stream.ErrOptions) {
		t.Fatalf("an open broker on all addresses gives the error %v, want %v", err, stream.ErrOptions)
	}
	s, err := stream.Embedded(t.Context(), stream.EmbeddedOptions{DataDir: dir, Listen: "127.0.0.1:0", Open: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	dial(t, stream.Options{URL: s.URL()})
	if c, err := stream.ReadCredentials(dir); err != nil || c.User != "" || c.URL != s.URL() {
		t.Fatalf("the credentials are %+v with the error %v, want no user and the URL %s", c, err, s.URL())
	}
	if want := "nats --server " + s.URL() + " micro ls"; s.PlainClientHint() != want {
		t.Errorf("the hint is %q, want %q", s.PlainClientHint(), want)
	}
}

func TestSecondBrokerOnTheSameDataIsRefused(t *testing.T) {
	dir := t.TempDir()
	options := stream.EmbeddedOptions{DataDir: dir, Listen: "127.0.0.1:0"}
	s, err := stream.Embedded(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	_, err = stream.Embedded(t.Context(), options)
	if !errors.Is(err, stream.ErrDataDirInUse) || !strings.Contains(err.Error(), s.URL()) {
		t.Fatalf("a second broker fails with %v, want %v and the URL of the first, %s", err, stream.ErrDataDirInUse, s.URL())
	}
	s.Shutdown()
	s, err = stream.Embedded(t.Context(), options)
	if err != nil {
		t.Fatal("after the first has gone:", err)
	}
	s.Shutdown()
}

func TestEmbeddedSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "nats.json"), []byte(`{"url":`), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		o    stream.EmbeddedOptions
		want string
	}{
		"port taken":         {stream.EmbeddedOptions{DataDir: t.TempDir(), Listen: taken.Addr().String()}, "--nats-listen"},
		"no port":            {stream.EmbeddedOptions{DataDir: t.TempDir(), Listen: "127.0.0.1"}, "host:port"},
		"bad port":           {stream.EmbeddedOptions{DataDir: t.TempDir(), Listen: "127.0.0.1:x"}, "host:port"},
		"no data directory":  {stream.EmbeddedOptions{}, "--data-dir"},
		"a file":             {stream.EmbeddedOptions{DataDir: file, Listen: "127.0.0.1:0"}, "--data-dir"},
		"damaged credential": {stream.EmbeddedOptions{DataDir: damaged, Listen: "127.0.0.1:0"}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := stream.Embedded(t.Context(), test.o)
			if err == nil {
				s.Shutdown()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v does not mention %s", err, test.want)
			}
		})
	}
}

func TestCredentialsPrintNoPassword(t *testing.T) {
	c := stream.Credentials{URL: "nats://127.0.0.1:1", User: "u", Password: "hush"}
	raw, err := json.Marshal(c)
	if err != nil || strings.Contains(string(raw), "hush") {
		t.Errorf("the credentials are written as %s with the error %v, want no password in it", raw, err)
	}
}
