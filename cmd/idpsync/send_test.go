package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
)

func TestLoginEventIsSeenFromItsFirstCharacters(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("<Response/>"))
	for _, c := range []struct{ name, data, nonce, request, want string }{
		{"ID token", "aGVhZA.cGF5.c2ln\n", "", "", `{"id_token":"aGVhZA.cGF5.c2ln"}`},
		{"ID token with nonce", "a.b.c", "n", "", `{"id_token":"a.b.c","nonce":"n"}`},
		{"XML", "\n<Response/>", "", "", `{"saml_response":"` + encoded + `"}`},
		{"base64", encoded, "", "_1", `{"request_id":"_1","saml_response":"` + encoded + `"}`},
		{"base64 in lines", encoded[:5] + "\r\n" + encoded[5:] + "\n", "", "", `{"saml_response":"` + encoded + `"}`},
		{"event", `{"id_token":"a.b.c"}`, "", "", `{"id_token":"a.b.c"}`},
		{"nothing", " \n", "", "", ""},
		{"event with nonce", `{"id_token":"a.b.c"}`, "n", "", ""},
		{"nonce for SAML", "<Response/>", "n", "", ""},
		{"request of an ID token", "a.b.c", "", "_1", ""},
	} {
		got, err := loginEvent([]byte(c.data), c.nonce, c.request)
		if string(got) != c.want && c.want != "" || (err != nil) != (c.want == "") {
			t.Errorf("%s: the event is %s with the error %v, want %q (an error if empty)", c.name, got, err, c.want)
		}
	}
}

// A program is one run of the whole program.
type program struct {
	stdout, stderr string
	code           int
}

func runProgram(t *testing.T, stdin string, args ...string) program {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, nil, strings.NewReader(stdin), &stdout, &stderr)
	return program{stdout.String(), stderr.String(), code}
}

func TestSealPrintsWhatOnlyTheKeyOpens(t *testing.T) {
	folder := t.TempDir()
	key, content, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "seal.key"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]program{
		"key file":     runProgram(t, "correct horse\nmore\n", "seal", "--data-dir", folder),
		"public key":   runProgram(t, "correct horse", "seal", "--key", key.KeyID(), "--data-dir", "nowhere"),
		"carriage":     runProgram(t, "correct horse\r\n", "seal", "--seal-key-file", filepath.Join(folder, "seal.key")),
		"another file": runProgram(t, "correct horse", "seal", "--seal-key-file", filepath.Join(folder, "seal.key"), "--data-dir", "nowhere"),
	} {
		plain, err := key.OpenText(strings.TrimSpace(p.stdout))
		if p.code != kit.ExitOK || err != nil || string(plain) != "correct horse" {
			t.Errorf("%s: what was sealed opens to %q with the error %v, exit %d and %s, want the password", name, plain, err, p.code, p.stderr)
		}
	}
	if p := runProgram(t, "", "seal", "--public", "--data-dir", folder); p.stdout != key.KeyID()+"\n" {
		t.Errorf("seal --public prints %q and %s, want %s", p.stdout, p.stderr, key.KeyID())
	}
	for name, c := range map[string]struct {
		p    program
		code int
		hint string
	}{
		"no key file": {runProgram(t, "correct horse", "seal", "--data-dir", filepath.Join(folder, "nowhere")), kit.ExitFailure, "--key"},
		"no public":   {runProgram(t, "correct horse", "seal", "--key", "XABC"), kit.ExitUsage, "--public"},
		"no input":    {runProgram(t, "", "seal", "--data-dir", folder), kit.ExitUsage, "printf"},
		"too long":    {runProgram(t, strings.Repeat("x", maxSecret+1), "seal", "--data-dir", folder), kit.ExitUsage, ""},
	} {
		if c.p.code != c.code || c.p.stdout != "" || !strings.Contains(c.p.stderr, c.hint) || strings.Contains(c.p.stderr, "correct horse") {
			t.Errorf("%s: seal ends with exit %d and %s%s, want %d with the hint %q, no output and no secret", name, c.p.code, c.p.stdout, c.p.stderr, c.code, c.hint)
		}
	}
}

func TestSendOverHTTP(t *testing.T) {
	const tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	var seen *http.Request
	answer := func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Idpsync-Outcome", "created")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":"1"}`))
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer site.Close()
	folder := t.TempDir()
	token := filepath.Join(folder, "token")
	if err := os.WriteFile(token, []byte("idpsync_secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	send := func(body string, more ...string) program {
		return runProgram(t, body, append([]string{"send", "command", "--tenant", strings.ToUpper(tenant), "--token-file", token, "--via", "http", "--http-url", site.URL + "/", "--id", "order 66", "-"}, more...)...)
	}
	for body, path := range map[string]string{
		`{"email":"a@acme.example","name":"A"}`:           "/v1/users",
		`{"identityName":"a","email":"a@acme.example"}`:   "/users",
		`not JSON, which the server is to say of it, too`: "/v1/users",
	} {
		p := send(body)
		if p.code != kit.ExitOK || p.stdout != "{\n  \"id\": \"1\"\n}\n" || !strings.Contains(p.stderr, "201 created") {
			t.Errorf("%s: send ends with exit %d, %s and %s, want %d, the answer and 201 created", body, p.code, p.stdout, p.stderr, kit.ExitOK)
		}
		if seen.URL.Path != path || seen.Header.Get("Idempotency-Key") != "order 66" || seen.Header.Get(providers.HeaderTenant) != tenant || seen.Header.Get("Authorization") != "Bearer idpsync_secret" {
			t.Errorf("%s: sent to %s with %v, want %s with the id, tenant and token", body, seen.URL.Path, seen.Header, path)
		}
	}
	p := send(`{"name":"A"}`, "--json")
	var out sent
	if err := json.Unmarshal([]byte(p.stdout), &out); err != nil || out.EventID != "order 66" || out.Status != "201" || out.Outcome != "created" {
		t.Errorf("send --json prints %s, read with the error %v, want order 66 created with 201", p.stdout, err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"code":"user_exists"}`))
	}
	if p := send("{}"); p.code != kit.ExitFailure || !strings.Contains(p.stdout, "user_exists") || !strings.Contains(p.stderr, "409 rejected") {
		t.Errorf("a refused event ends with exit %d, %s and %s, want %d, user_exists and 409 rejected", p.code, p.stdout, p.stderr, kit.ExitFailure)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) {
		http.Redirect(w, seen, "http://evil.example/", http.StatusFound)
	}
	if p := send("{}"); p.code != kit.ExitFailure || !strings.Contains(p.stderr, "not idpsync") {
		t.Errorf("a redirect ends with exit %d, %s and %s, want %d and that it is not idpsync", p.code, p.stdout, p.stderr, kit.ExitFailure)
	}
	for name, args := range map[string][]string{
		"in the clear": {"--http-url", "http://idpsync.example"},
		"no address":   {"--http-url", "127.0.0.1:8080"},
		"other scheme": {"--http-url", "ftp://127.0.0.1"},
		"no tenant":    {"--tenant", "acme"},
		"no door":      {"--via", "pigeon"},
	} {
		if p := send("{}", args...); p.code != kit.ExitUsage || p.stdout != "" || strings.Contains(p.stderr, "secret") {
			t.Errorf("%s: send ends with exit %d, %s and %s, want %d, no output and no secret", name, p.code, p.stdout, p.stderr, kit.ExitUsage)
		}
	}
}

func TestSendRefusesWhatTheBrokerMustNotKeep(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("idpsync_x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nothing listens: what is not refused fails to connect.
	send := func(body string, more ...string) program {
		return runProgram(t, body, append([]string{"send", "command", "--tenant", "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "--token-file", token, "--nats-url", "nats://127.0.0.1:1", "-"}, more...)...)
	}
	for name, c := range map[string]struct {
		program
		refused bool
	}{
		"in the clear":      {send(`{"email":"a@b.example","password":"correct horse"}`), true},
		"in broken JSON":    {send(`{"password":"correct horse"`), true},
		"not a string":      {send(`{"password":12345678}`), true},
		"sealed":            {send(`{"password":"sealed:x1:abc"}`), false},
		"hashed":            {send(`{"password_hash":"$argon2id$"}`), false},
		"none":              {send(`{}`), false},
		"by request":        {send(`{"password":"correct horse"}`, "--via", "rpc"), false},
		"of another format": {send(`password`), false},
	} {
		if got := c.code == kit.ExitUsage && strings.Contains(c.stderr, "nothing was sent"); got != c.refused || strings.Contains(c.stderr, "horse") {
			t.Errorf("%s: send ends with exit %d and %s, want a refusal: %v, and no password", name, c.code, c.stderr, c.refused)
		}
	}
	if p := send("{}", "--wait", "10s"); p.code != kit.ExitUsage {
		t.Errorf("two files end with exit %d and %s, want %d", p.code, p.stderr, kit.ExitUsage)
	}
	if p := runProgram(t, "", "send", "login", "--wait", "10s", "-"); p.code != kit.ExitUsage || !strings.Contains(p.stderr, "--wait=10s") {
		t.Errorf("a duration apart from its flag ends with exit %d and %s, want %d and how to write it", p.code, p.stderr, kit.ExitUsage)
	}
}

func TestChoosingWhatCannotBeIsRefused(t *testing.T) {
	folder := t.TempDir()
	if p := runProgram(t, "", "apply", "--data-dir", folder, "-f", "../../deploy/directory.example.yaml", "--yes"); p.code != kit.ExitOK {
		t.Fatalf("apply ends with exit %d and %s%s, want %d", p.code, p.stdout, p.stderr, kit.ExitOK)
	}
	for _, args := range [][]string{
		{"tail", "--outcome", "nope"},
		{"tail", "--tenant", "acme"},
		{"tail", "--since", "yesterday"},
		{"dlq", "list", "--since", "1w"},
		{"explain"},
		{"explain", "--file", "login.json"},
		{"saml-metadata"},
		{"policy", "diff"},
	} {
		p := runProgram(t, "", append(args, "--data-dir", folder)...)
		if p.code != kit.ExitUsage || !strings.Contains(p.stderr, "hint: ") || strings.Contains(p.stderr, "flags in the group") {
			t.Errorf("%q ends with exit %d and %s, want %d and a hint", args, p.code, p.stderr, kit.ExitUsage)
		}
	}
}
