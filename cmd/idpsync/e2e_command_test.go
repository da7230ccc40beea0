package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker/record"
)

// The table of requests that every door answers alike. DOOR makes the users of the doors different ones.
var apiTable = []struct {
	title  string
	path   string
	tenant string // whose header is sent; "" sends none
	token  bool
	body   string
}{
	{"the example of the API's documentation", "/v1/users", acme, true, exampleBody},
	{"the same user again", "/v1/users", acme, true, exampleBody},
	{"another tenant's header", "/v1/users", globex, true, exampleBody},
	{"no token", "/v1/users", acme, false, exampleBody},
	{"no tenant header", "/v1/users", "", true, exampleBody},
	{"an unknown role", "/v1/users", acme, true, strings.Replace(exampleBody, `"user"`, `"nope"`, 1)},
	{"broken JSON", "/v1/users", acme, true, `{ "email": "ada@acme.example", "nam`},
	{"a member that the API does not have", "/v1/users", acme, true, strings.Replace(exampleBody, `"name"`, `"nick"`, 1)},
	{"a password for a user who logs in elsewhere", "/v1/users", acme, true, strings.Replace(exampleBody, "local", "oidc", 1)},
	{"every field at fault", "/v1/users", acme, true, `{"email": "example", "name": "", "password": "example", "auth_provider": "ldap"}`},
	{"the organization shape", "/users", acme, true, memberBody},
	{"the same identity name again", "/users", acme, true, strings.Replace(memberBody, "grace.DOOR@", "hopper.DOOR@", 1)},
	{"no organizations, blank names and a bad UUID", "/users", acme, true, `{"identityName": " ", "displayName": "", "organizations": [], "email": "x", "firstName": "\t", "lastName": ""}`},
	{"bad UUIDs", "/users", acme, true, strings.NewReplacer(sales, "sales", viewer, "viewer").Replace(memberBody)},
	{"another tenant's organization and an unknown role", "/users", acme, true, strings.NewReplacer(sales, globex, viewer, acme).Replace(memberBody)},
}

const (
	exampleBody = `{ "email": "ada.DOOR@acme.example", "name": "example", "password": "example password", "roles": [ "user" ], "auth_provider": "local" }`
	memberBody  = `{"identityName": "grace DOOR", "displayName": "Grace Hopper", "organizations": [{"organizationId": "` + sales + `", "roleId": "` + viewer + `"}, {"organizationId": "` + support + `", "roleId": "` + viewer + `"}], "email": "grace.DOOR@acme.example", "firstName": "Grace", "lastName": "Hopper"}`
)

// TestEveryDoorGivesTheAnswersOfTheAPI compares the answers of each door with one golden file.
func TestEveryDoorGivesTheAnswersOfTheAPI(t *testing.T) {
	for name, open := range map[string]func(testing.TB) *site{"embedded": embeddedSite, "cluster": clusterSite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			r := s.worker("--durable-passwords", "accept")
			token := s.credential("acme", "user,viewer")
			for _, door := range s.callers(r) {
				text := transcriptOf(t, door, token)
				t.Run(door.name, func(t *testing.T) { golden(t, filepath.Join("testdata", "api.golden"), text) })
			}
		})
	}
}

func transcriptOf(t *testing.T, door caller, token string) string {
	t.Helper()
	var b strings.Builder
	for i, row := range apiTable {
		header := map[string]string{}
		if row.token {
			header["Authorization"] = "Bearer " + token
		}
		tenant := acme
		if row.tenant != "" {
			tenant, header["X-Tenant-ID"] = row.tenant, row.tenant
		}
		body := strings.ReplaceAll(row.body, "DOOR", "by"+door.name)
		got := door.send(t, tenant, row.path, fmt.Sprintf("%s-%d", door.name, i), header, body)
		if got.status == 201 && row.path == "/users" && !sameJSON(t, []byte(body), got.body) {
			t.Errorf("%s: the body is not the request's: %s", row.title, got.body)
		}
		fmt.Fprintf(&b, "## %s\n\nPOST %s\n", row.title, row.path)
		if row.tenant != "" {
			fmt.Fprintf(&b, "X-Tenant-ID: %s\n", row.tenant)
		}
		if row.token {
			b.WriteString("Authorization: Bearer <token>\n")
		}
		fmt.Fprintf(&b, "%s\n\n%d %s\n", row.body, got.status, got.header.Get(record.HeaderOutcome))
		if at := got.header.Get("Content-Location"); at != "" {
			fmt.Fprintf(&b, "Content-Location: %s\n", strings.ReplaceAll(at, "by"+door.name, "DOOR"))
		}
		fmt.Fprintf(&b, "%s\n\n", strings.ReplaceAll(steadyBody(got.body), "by"+door.name, "DOOR"))
	}
	return b.String()
}

// steadyBody replaces what differs from run to run.
func steadyBody(body []byte) string {
	s := string(body)
	s = regexp.MustCompile(`"id":"[0-9a-f-]{36}"`).ReplaceAllString(s, `"id":"<uuid>"`)
	return regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`).ReplaceAllString(s, "<time>")
}

// golden compares a text with a file, which -update writes anew.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	wanted := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(wanted) || line != wanted[i] {
			t.Errorf("%s differs from line %d on; -update writes it anew. Got:\n%s\nwant:\n%s", file, i+1, line, strings.Join(wanted[min(i, len(wanted)):min(i+1, len(wanted))], ""))
			return
		}
	}
	t.Errorf("%s has more lines; -update writes it anew", file)
}
