package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/httpapi"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// nats-server starts this one per process, to refresh its clock, and never ends it.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"),
	)
}

// An api is the front door of a deployment with one worker.
type api struct {
	t        *testing.T
	d        *workertest.Deployment
	p        *workertest.Process
	contract *contract
	url      string
	client   *http.Client
	admin    string // token
}

func newAPI(t *testing.T, configure ...func(*worker.Config)) *api {
	t.Helper()
	return newAPIOf(t, workertest.Options{}, configure...)
}

func newAPIOf(t *testing.T, o workertest.Options, configure ...func(*worker.Config)) *api {
	t.Helper()
	d := workertest.New(t, o)
	p := d.Start(configure...)
	auth := providers.Authentication{
		Credentials: directory.NewCredentials(d.Store, d.Clock.Now, slog.New(slog.DiscardHandler)), Tokens: p.Directories,
	}
	return &api{
		t: t, d: d, p: p, contract: readContract(t), admin: d.Credential(workertest.Acme, "user", "admin", "viewer"),
		url: serve(t, httpapi.New(p.Admit, p.Submit, auth.Tenant, httpapi.Config{Now: d.Clock.Now})), client: newClient(t),
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// A response is what the API said, compared with the contract already.
type response struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
	code   string
	reason string
}

type header map[string]string

// post sends one request; any goroutine may. Headers that are not given are those of an administrator; an empty one is left out.
func (a *api) post(path, body string, h header) response {
	a.t.Helper()
	all := header{"Authorization": "Bearer " + a.admin, "Content-Type": "application/json", "X-Tenant-ID": strings.ToUpper(workertest.Acme)}
	maps.Copy(all, h)
	req, err := http.NewRequestWithContext(a.d.Ctx, http.MethodPost, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Error(err)
		return response{}
	}
	for name, value := range all {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	res, err := a.client.Do(req)
	if err != nil {
		a.t.Error(err)
		return response{}
	}
	return a.read(path, res)
}

func (a *api) read(path string, res *http.Response) response {
	a.t.Helper()
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Error(err)
		return response{}
	}
	a.contract.checkExchange(a.t, path, res, raw)
	r := response{status: res.StatusCode, header: res.Header, raw: raw}
	if err := json.Unmarshal(raw, &r.body); err != nil {
		a.t.Errorf("%s: %v in %s", path, err, raw)
	}
	r.code, _ = r.body["code"].(string)
	if details, ok := r.body["details"].(map[string]any); ok {
		r.reason, _ = details["reason"].(string)
	}
	return r
}

func tenantUser(email string, more ...string) string {
	return `{"email":"` + email + `","name":"Ada Lovelace","password":"correct horse"` + strings.Join(append([]string{""}, more...), ",") + `}`
}

func organizationUser(name string) string {
	return fmt.Sprintf(`{"identityName":%q,"displayName":"Ada Lovelace","organizations":[{"organizationId":%q,"roleId":%q}],"email":"%s@acme.example","firstName":"Ada","lastName":"Lovelace"}`,
		name, strings.ToUpper(workertest.Sales), strings.ToUpper(workertest.Viewer), strings.ToLower(strings.Fields(name)[0]))
}

func TestTenantShape(t *testing.T) {
	a := newAPI(t)
	r := a.post("/v1/users", tenantUser("Ada@Acme.example", `"roles":["admin","user"]`), nil)
	if r.status != 201 {
		t.Fatalf("the user is answered by %d %s, want 201", r.status, r.raw)
	}
	stored := a.d.User(workertest.Acme, "ada@acme.example")
	want := fmt.Sprintf(`{"id":%q,"tenant_id":%q,"email":"Ada@Acme.example","name":"Ada Lovelace","roles":["admin","user"],"auth_provider":"local","is_owner":false,"created_at":%q,"updated_at":%q}`,
		stored.ID, workertest.Acme, r.body["created_at"], r.body["updated_at"])
	if string(r.raw) != want {
		t.Errorf("got  %s\nwant %s", r.raw, want)
	}
	if !strings.HasPrefix(stored.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error("the password is not hashed with argon2id")
	}
	if r.header.Get("Idpsync-Outcome") != "created" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the header is %v, want created and no-store", r.header)
	}
	if s := string(r.raw) + fmt.Sprint(r.header); strings.Contains(s, "correct horse") || strings.Contains(s, "$argon2id") {
		t.Errorf("the answer shows the password: %s", s)
	}
}

func TestOrganizationShape(t *testing.T) {
	a := newAPI(t)
	body := organizationUser("ada lovelace/é")
	r := a.post("/users", body, header{"X-Tenant-ID": ""})
	if r.status != 201 || string(r.raw) != body {
		t.Fatalf("%d\ngot  %s\nwant %s", r.status, r.raw, body)
	}
	if got := r.header.Get("Content-Location"); got != "ada%20lovelace%2F%C3%A9" {
		t.Errorf("Content-Location is %q, want it escaped", got)
	}
	u := a.d.User(workertest.Acme, "ada@acme.example")
	if u.AuthProvider != "local" || u.PasswordHash != "" || u.Name != "Ada Lovelace" {
		t.Errorf("the user is %+v, want Ada Lovelace, local, without a hash", u)
	}
}

func TestSameKeySameAnswer(t *testing.T) {
	a := newAPI(t)
	key := header{"Idempotency-Key": "order 66"}
	first := a.post("/v1/users", tenantUser("ada@acme.example"), key)
	again := a.post("/v1/users", tenantUser("ada@acme.example"), key)
	if first.status != 201 || again.status != 201 || !bytes.Equal(first.raw, again.raw) || first.header.Get("Ce-Id") != again.header.Get("Ce-Id") {
		t.Errorf("the command and its repeat are answered differently, want 201 and one id\nfirst %d %s %v\nagain %d %s %v", first.status, first.raw, first.header, again.status, again.raw, again.header)
	}
	if first.header.Get("Idpsync-Event-Id") != "order 66" {
		t.Errorf("the event id is %q, want that of the key, order 66", first.header.Get("Idpsync-Event-Id"))
	}
	for name, body := range map[string]string{
		"another password": strings.Replace(tenantUser("ada@acme.example"), "horse", "house", 1),
		"another name":     strings.Replace(tenantUser("ada@acme.example"), "Ada", "Eve", 1),
	} {
		if r := a.post("/v1/users", body, key); r.status != 409 || r.code != "event_id_conflict" {
			t.Errorf("%s under the key is answered by %d %s, want 409 and event_id_conflict", name, r.status, r.raw)
		}
	}
	if r := a.post("/v1/users", tenantUser("ADA@acme.example"), nil); r.status != 409 || r.code != "user_exists" {
		t.Errorf("without a key the repeat is answered by %d %s, want 409 and user_exists", r.status, r.raw)
	}
	if n := len(a.d.Users(workertest.Acme)); n != 1 {
		t.Errorf("there are %d users, want 1", n)
	}
}

func TestAnswersByStatus(t *testing.T) {
	a := newAPI(t)
	revoked := a.d.Credential(workertest.Acme, "user")
	id, _, err := providers.ParseToken(revoked)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.d.Store.RevokeCredential(a.d.Ctx, id, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	globex := a.d.Credential(workertest.Globex, "user")
	unknownTenant := "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	jwt, err := a.d.Issuer.Sign(a.d.Person("ada"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		path   string
		body   string
		header header
		status int
		code   string
		reason string
	}{
		{"no tenant header", "/v1/users", tenantUser("a@acme.example"), header{"X-Tenant-ID": ""}, 400, "malformed", "tenant_header"},
		{"tenant header is no UUID", "/v1/users", tenantUser("a@acme.example"), header{"X-Tenant-ID": "acme"}, 400, "malformed", "tenant_header"},
		{"tenant in braces", "/users", organizationUser("a"), header{"X-Tenant-ID": "{" + workertest.Acme[1:35] + "}"}, 400, "malformed", "tenant_header"},
		{"empty body", "/v1/users", "", nil, 400, "malformed", "json"},
		{"not JSON", "/v1/users", "email=a@acme.example", nil, 400, "malformed", "json"},
		{"key too long", "/v1/users", tenantUser("a@acme.example"), header{"Idempotency-Key": strings.Repeat("k", 256)}, 400, "malformed", "event_id"},
		{"key not ASCII", "/v1/users", tenantUser("a@acme.example"), header{"Idempotency-Key": "ключ"}, 400, "malformed", "event_id"},
		{"two credentials", "/v1/users", tenantUser("a@acme.example"), header{"X-API-Key": a.admin}, 400, "malformed", "credential_ambiguous"},
		{"weak password", "/v1/users", strings.Replace(tenantUser("a@acme.example"), "correct horse", "horse", 1), nil, 400, "invalid_input", ""},
		{"no password", "/v1/users", `{"email":"a@acme.example","name":"A"}`, nil, 400, "invalid_input", ""},
		{"password for oidc", "/v1/users", tenantUser("a@acme.example", `"auth_provider":"oidc"`), nil, 400, "invalid_input", ""},
		{"absurd hash", "/v1/users", `{"email":"a@acme.example","name":"A","password_hash":"$argon2id$v=19$m=4194304,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}`, nil, 400, "invalid_input", ""},
		{"script for an avatar", "/v1/users", tenantUser("a@acme.example", `"avatar":"data:text/html;base64,PHNjcmlwdD4="`), nil, 400, "invalid_input", ""},
		{"avatar that lies", "/v1/users", tenantUser("a@acme.example", `"avatar":"data:image/png;base64,R0lGODlhAQABAAAAACw="`), nil, 400, "invalid_input", ""},
		{"no organization", "/users", `{"identityName":"a","displayName":"A","organizations":[],"email":"a@acme.example","firstName":"A","lastName":"B"}`, nil, 400, "invalid_input", ""},
		{"no credential", "/v1/users", tenantUser("a@acme.example"), header{"Authorization": ""}, 401, "unauthenticated", "credential_missing"},
		{"no credential, no tenant", "/users", organizationUser("a"), header{"Authorization": "", "X-Tenant-ID": ""}, 401, "unauthenticated", "credential_missing"},
		{"unknown credential", "/v1/users", tenantUser("a@acme.example"), header{"Authorization": "Bearer idpsync_aaaqeayeaudaocaj_CgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCk"}, 401, "unauthenticated", "credential_unknown"},
		{"unknown credential, no tenant", "/users", organizationUser("a"), header{"X-Tenant-ID": "", "Authorization": "Bearer idpsync_aaaqeayeaudaocaj_CgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCk"}, 401, "unauthenticated", "credential_unknown"},
		{"revoked", "/v1/users", tenantUser("a@acme.example"), header{"Authorization": "Bearer " + revoked}, 401, "unauthenticated", "credential_revoked"},
		{"JWT of a source without commands", "/v1/users", tenantUser("a@acme.example"), header{"Authorization": "Bearer " + jwt}, 401, "unauthenticated", "credential_unknown"},
		{"JWT without tenant", "/users", organizationUser("a"), header{"X-Tenant-ID": "", "Authorization": "Bearer " + jwt}, 400, "malformed", "tenant_header"},
		{"unknown tenant, no credential", "/v1/users", tenantUser("a@acme.example"), header{"X-Tenant-ID": unknownTenant, "Authorization": ""}, 401, "unauthenticated", "credential_missing"},
		{"unknown tenant, credential of a known one", "/v1/users", tenantUser("a@acme.example"), header{"X-Tenant-ID": unknownTenant}, 403, "tenant_mismatch", "tenant_mismatch"},
		{"credential of another tenant", "/v1/users", tenantUser("a@acme.example"), header{"Authorization": "Bearer " + globex}, 403, "tenant_mismatch", "tenant_mismatch"},
		{"credential of another tenant, organization shape", "/users", organizationUser("a"), header{"Authorization": "Bearer " + globex}, 403, "tenant_mismatch", "tenant_mismatch"},
		{"form", "/v1/users", tenantUser("a@acme.example"), header{"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", ""},
		{"latin-1", "/v1/users", tenantUser("a@acme.example"), header{"Content-Type": "application/json; charset=iso-8859-1"}, 415, "unsupported_media_type", ""},
		{"gzip", "/v1/users", tenantUser("a@acme.example"), header{"Content-Encoding": "gzip"}, 415, "unsupported_media_type", ""},
		{"10 MB", "/v1/users", tenantUser(strings.Repeat("a", 10<<20) + "@acme.example"), nil, 413, "payload_too_large", ""},
		{"unknown role", "/v1/users", tenantUser("a@acme.example", `"roles":["user","emperor"]`), nil, 422, "invalid_roles", ""},
		{"role that the credential may not grant", "/v1/users", tenantUser("a@acme.example", `"roles":["auditor"]`), nil, 422, "invalid_roles", ""},
		{"another tenant's organization", "/users", strings.NewReplacer(strings.ToUpper(workertest.Sales), workertest.Hangar, strings.ToUpper(workertest.Viewer), workertest.Pilot).Replace(organizationUser("a")), nil, 422, "invalid_organizations", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := *a
			a.t = t
			r := a.post(c.path, c.body, c.header)
			if r.status != c.status || r.code != c.code || r.reason != c.reason {
				t.Errorf("the answer is %d %s, want %d with code %q and reason %q", r.status, r.raw, c.status, c.code, c.reason)
			}
		})
	}
	if n := len(a.d.Users(workertest.Acme)); n != 0 {
		t.Errorf("%d users were made, want none", n)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	a := newAPI(t)
	r := a.post("/v1/users", `{"email":"a@b","name":" ","password":"short","auth_provider":"local","avatar":"x"}`, nil)
	details, _ := r.body["details"].(map[string]any)
	var got []string
	fields, _ := details["fields"].([]any)
	for _, f := range fields {
		m := f.(map[string]any)
		got = append(got, fmt.Sprint(m["field"], " ", m["code"]))
	}
	if want := "email invalid, name required, avatar invalid, password invalid"; r.status != 400 || strings.Join(got, ", ") != want {
		t.Errorf("%d, faults %v; want %s", r.status, got, want)
	}
}

// The client of the API compares each answer with the schema, which lists the codes of fields.
func TestFaultsOfNames(t *testing.T) {
	a := newAPI(t)
	for what, c := range map[string]struct{ body, code string }{
		"another person's address": {strings.Replace(organizationUser("eve"), `"identityName":"eve"`, `"identityName":"ada@acme.example"`, 1), "not_own_address"},
		"letters of two scripts":   {strings.Replace(organizationUser("eve"), `"identityName":"eve"`, `"identityName":"\u0435ve"`, 1), "mixed_scripts"},
	} {
		r := a.post("/users", c.body, nil)
		if want := `"field":"identityName","code":"` + c.code + `"`; r.status != 400 || !strings.Contains(string(r.raw), want) {
			t.Errorf("%s for a name: got %d %s, wanted 400 with %s", what, r.status, r.raw, want)
		}
	}
}

func TestHostileBodies(t *testing.T) {
	a := newAPI(t)
	files, err := filepath.Glob("../../providers/command/testdata/rejected/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r := a.post("/v1/users", string(body), nil)
		if r.status != 400 || r.code != "malformed" {
			t.Errorf("%s is answered by %d %s, want 400 and malformed", filepath.Base(f), r.status, r.raw)
		}
		if strings.Contains(string(r.raw), "hunter2") {
			t.Errorf("%s: the answer shows the password: %s", filepath.Base(f), r.raw)
		}
	}
	deep := a.post("/v1/users", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000), nil)
	if deep.status != 400 || deep.code != "malformed" {
		t.Errorf("a deep body is answered by %d %s, want 400 and malformed", deep.status, deep.raw)
	}
	if n := len(a.d.Users(workertest.Acme)); n != 0 {
		t.Errorf("%d users were made, want none", n)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/v1/users", 405, "method_not_allowed", "POST"},
		{"DELETE", "/users", 405, "method_not_allowed", "POST"},
		{"OPTIONS", "/users", 405, "method_not_allowed", "POST"},
		{"POST", "/", 404, "not_found", ""},
		{"POST", "/v1/users/", 404, "not_found", ""},
		{"POST", "/v1/Users", 404, "not_found", ""},
		{"POST", "/healthz", 404, "not_found", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, a.url+c.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		a.contract.checkJSON(t, "error.json", raw)
		if res.StatusCode != c.status || !strings.Contains(string(raw), c.code) || res.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s is answered by %d %s and Allow %q, want %d, %s and Allow %q", c.method, c.path, res.StatusCode, raw, res.Header.Get("Allow"), c.status, c.code, c.allow)
		}
	}
}

func TestManyAtOnceMakeOneUser(t *testing.T) {
	a := newAPI(t)
	const n = 24
	statuses := make([]int, n)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() {
			statuses[i] = a.post("/v1/users", tenantUser("ada@acme.example"), nil).status
		})
	}
	wg.Wait()
	created := 0
	for _, s := range statuses {
		switch s {
		case 201:
			created++
		case 409:
		default:
			t.Errorf("a request ends with status %d, want 201 or 409", s)
		}
	}
	if users := len(a.d.Users(workertest.Acme)); created != 1 || users != 1 {
		t.Errorf("%d requests say created and there are %d users, want one each", created, users)
	}
}

func TestBusyWhenTooManyPasswordsWait(t *testing.T) {
	a := newAPI(t, func(c *worker.Config) { c.HashWorkers, c.HashQueue = 1, 1 })
	const n = 16
	statuses := make([]int, n)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() {
			r := a.post("/v1/users", tenantUser(fmt.Sprintf("u%d@acme.example", i)), nil)
			statuses[i] = r.status
			if r.status == 429 && r.reason != "hashing_busy" {
				t.Errorf("a busy answer has the reason %q, want hashing_busy", r.reason)
			}
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if count[201]+count[429] != n || count[201] == 0 || count[429] == 0 {
		t.Errorf("the numbers by status are %v, want some 201 and some 429, %d together", count, n)
	}
	if users := len(a.d.Users(workertest.Acme)); users != count[201] {
		t.Errorf("there are %d users, want the %d that were answered by 201", users, count[201])
	}
}

func TestStoppedWorkerIsUnavailable(t *testing.T) {
	a := newAPI(t)
	if err := a.p.Stop(); err != nil {
		t.Fatal(err)
	}
	if r := a.post("/v1/users", tenantUser("ada@acme.example"), nil); r.status != 503 || r.code != "unavailable" {
		t.Errorf("a stopped worker answers %d %s, want 503 and unavailable", r.status, r.raw)
	}
}

// TestSecretsRestNowhere looks for the password in everything that is kept or published.
func TestSecretsRestNowhere(t *testing.T) {
	a := newAPI(t)
	if r := a.post("/v1/users", tenantUser("ada@acme.example"), header{"Idempotency-Key": "1"}); r.status != 201 {
		t.Fatalf("the user is answered by %d %s, want 201", r.status, r.raw)
	}
	a.post("/v1/users", strings.Replace(tenantUser("eve@acme.example", `"roles":["emperor"]`), "horse", "horse2", 1), nil)
	a.d.Settle()
	for _, f := range []string{a.d.Database().Path, a.d.Database().Path + "-wal"} {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("correct horse")) {
			t.Errorf("%s holds the password", filepath.Base(f))
		}
	}
	err := filepath.WalkDir(a.d.Folder(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("correct horse")) {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
