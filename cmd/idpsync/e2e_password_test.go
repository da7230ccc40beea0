package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store/storetest"
)

// TestPasswordsAreKeptNowhere creates users with passwords by every door that takes them, and has some refused, then
// searches all that is kept or printed anywhere for them.
func TestPasswordsAreKeptNowhere(t *testing.T) {
	for name, open := range map[string]func(testing.TB) *site{"embedded": embeddedSite, "cluster": clusterSite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			r := s.child()
			token := s.credential("acme", "user")
			passwords := s.sendPasswords(t, r, token)
			conn := s.nats()
			kept := map[string][]byte{"standard output": nil, "standard error": nil}
			js, err := jetstream.New(conn)
			if err != nil {
				t.Fatal(err)
			}
			names := js.StreamNames(s.ctx)
			for name := range names.Name() {
				for _, m := range s.stored(conn, name) {
					kept["stream "+name] = append(kept["stream "+name], fmt.Sprintf("%s %v %s\n", m.Subject, m.Header, m.Data)...)
				}
			}
			if err := names.Err(); err != nil {
				t.Fatal(err)
			}
			shown := s.must("get", "users", "--tenant", "acme", "--json") + s.must("get", "audit", "--json") + s.must("dlq", "list", "--json") +
				s.must("explain", "--event", acme+"/admin/http-0", "--json")
			kept["verbs"] = []byte(shown)
			r.stop()
			kept["standard output"], kept["standard error"] = []byte(r.stdout.String()), []byte(r.stderr.String())
			if s.cluster {
				kept["PostgreSQL"] = dump(t, s)
			}
			s.readFiles(t, kept)

			seen := map[string]bool{}
			for place, content := range kept {
				for _, password := range passwords {
					for form, needle := range disguises(password) {
						if bytes.Contains(content, needle) {
							t.Errorf("%s holds a password, %s", place, form)
						}
					}
				}
				seen[place] = bytes.Contains(content, []byte("http-0@acme.example"))
			}
			// The same search must find what is kept.
			places := []string{"stream IDPSYNC_RESULTS", "verbs"}
			if s.cluster {
				places = append(places, "PostgreSQL")
			}
			for _, place := range places {
				if !seen[place] {
					t.Errorf("the search does not find in %s what is there", place)
				}
			}
			found := 0
			for place, hit := range seen {
				if hit && strings.HasPrefix(place, "file ") {
					found++
				}
			}
			if found == 0 {
				t.Error("the search does not find in any file what is there")
			}
		})
	}
}

// sendPasswords sends commands with passwords and returns what is special in each.
func (s *site) sendPasswords(t *testing.T, r *running, token string) []string {
	t.Helper()
	var passwords []string
	header := map[string]string{"Authorization": "Bearer " + token, "X-Tenant-ID": acme}
	fresh := func() string {
		core := fmt.Sprintf("Trombone%dGiraffe", 7919*(len(passwords)+1))
		passwords = append(passwords, core)
		return core + " & <é>"
	}
	body := func(id, password string, more string) string {
		encoded, err := json.Marshal(password)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"email": "%s@acme.example", "name": "Somebody", "password": %s%s}`, id, encoded, more)
	}
	expect := func(got reply, status int) {
		t.Helper()
		if got.status != status {
			t.Fatalf("the answer is %d %s, want %d", got.status, got.body, status)
		}
	}
	for _, door := range []caller{s.overHTTP(r), s.overRPC()} {
		first := fresh()
		expect(door.send(t, acme, "/v1/users", door.name+"-0", header, body(door.name+"-0", first, "")), 201)
		expect(door.send(t, acme, "/v1/users", door.name+"-0", header, body(door.name+"-0", first, "")), 201)
		expect(door.send(t, acme, "/v1/users", door.name+"-0", header, body(door.name+"-0", fresh(), "")), 409)
		expect(door.send(t, acme, "/v1/users", door.name+"-1", header, body(door.name+"-0", fresh(), "")), 409)
		expect(door.send(t, acme, "/v1/users", door.name+"-2", header, body(door.name+"-2", fresh(), `, "roles": ["nope"]`)), 422)
		expect(door.send(t, acme, "/v1/users", door.name+"-3", header, body(door.name+"-3", fresh(), `, "auth_provider": "saml"`)), 400)
		expect(door.send(t, acme, "/v1/users", door.name+"-4", header, body(door.name+"-4", fresh(), `, "pasword": 1`)), 400)
		expect(door.send(t, acme, "/v1/users", door.name+"-5", header, strings.TrimSuffix(body(door.name+"-5", fresh(), ""), "}")), 400)
		expect(door.send(t, acme, "/v1/users", door.name+"-6", nil, body(door.name+"-6", fresh(), "")), 400)
	}
	// What the broker stores is sealed.
	sealed := s.do(fresh(), "seal")
	if sealed.code != kit.ExitOK {
		t.Fatal("seal fails with " + sealed.stderr)
	}
	stream := s.overStream()
	expect(stream.send(t, acme, "/v1/users", "sealed-0", header, body("sealed-0", strings.TrimSpace(sealed.stdout), "")), 201)
	expect(stream.send(t, acme, "/v1/users", "sealed-1", header, body("sealed-0", strings.TrimSpace(sealed.stdout), "")), 409)
	expect(stream.send(t, acme, "/v1/users", "sealed-2", header, body("sealed-2", strings.TrimSpace(sealed.stdout), `, "roles": ["nope"]`)), 422)
	return passwords
}

// disguises are the forms in which a text of letters and digits may lie somewhere, in the middle of others.
func disguises(text string) map[string][]byte {
	forms := map[string][]byte{
		"as it is": []byte(text), "in hex": []byte(hex.EncodeToString([]byte(text))), "in HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
	}
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, shift), text...))
			forms[fmt.Sprintf("in %s, shifted by %d", name, shift)] = []byte(encoded[2*shift : len(encoded)-2])
		}
	}
	return forms
}

// readFiles adds all files of the site, those of broker and database included.
func (s *site) readFiles(t *testing.T, to map[string][]byte) {
	t.Helper()
	err := filepath.WalkDir(s.folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "nats-server" {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // the test's own folder
		to["file "+path] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dump returns every row of every table of the site's PostgreSQL database, bytes in hex and as they are.
func dump(t *testing.T, s *site) []byte {
	t.Helper()
	db := storetest.Database(t, s.data)
	rows, err := db.QueryContext(s.ctx, `select format('%I.%I', table_schema, table_name) from information_schema.tables
		where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, table := range tables {
		all = append(all, table+"\n"...)
		rows, err := db.QueryContext(s.ctx, `select * from `+table) //nolint:gosec // a name of the catalogue
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([][]byte, len(columns))
			to := make([]any, len(columns))
			for i := range values {
				to[i] = &values[i]
			}
			if err := rows.Scan(to...); err != nil {
				t.Fatal(err)
			}
			all = append(append(all, bytes.Join(values, []byte("\t"))...), '\n')
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
