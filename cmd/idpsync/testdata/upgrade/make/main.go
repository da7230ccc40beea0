// Command make runs an idpsync program of some version and leaves what it stored as SQL text, for tests of what a later
// version makes of it. README.md beside its output says how it was called and who is in it.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

const (
	acme    = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	globex  = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	hooli   = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	initech = "5489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	sales   = "0a000000-0000-4000-8000-000000000001"
	support = "0a000000-0000-4000-8000-000000000002"
	viewer  = "6f1c0c5e-0000-4000-8000-000000000001"

	// hash is that of the password "correct horse battery staple".
	hash = "$2b$10$RiYZt7qYtzBbxyhGz1eQku6XVg1A0zaTzZ4aX0d2AsJTs7XmE1Nsa"
)

func main() {
	program := flag.String("idpsync", "", "the program")
	folder := flag.String("folder", ".", "folder of this text's README.md")
	database := flag.String("database-url", "", "an empty PostgreSQL database; none: SQLite")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *program, *folder, *database); err != nil {
		log.Fatal(err)
	}
}

// A maker makes one database.
type maker struct {
	ctx      context.Context
	program  string
	folder   string // of the fixtures
	work     string // temporary
	database string // URL of PostgreSQL, or ""
	base     string // of the web server
	issuers  map[string]*issuer.Issuer
	idps     map[string]*idp.IdP
	tokens   map[string]string
	web      string // of the HTTP API

	worker *exec.Cmd
	log    *output
}

func run(ctx context.Context, program, folder, database string) (err error) {
	m := &maker{ctx: ctx, database: database, issuers: map[string]*issuer.Issuer{}, idps: map[string]*idp.IdP{}, tokens: map[string]string{}}
	if m.program, err = filepath.Abs(program); err != nil {
		return err
	}
	if m.folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	if m.work, err = os.MkdirTemp("", "upgrade"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(m.work)) }()
	server := httptest.NewServer(http.HandlerFunc(m.serve))
	defer server.Close()
	m.base = server.URL
	for _, step := range []func() error{m.identityProviders, m.first, m.second, m.save} {
		if err := step(); err != nil {
			if m.log != nil {
				err = fmt.Errorf("%w\n%s", err, m.log)
			}
			return errors.Join(err, m.stop())
		}
	}
	return nil
}

// serve is the web server of all issuers and of the metadata.
func (m *maker) serve(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case m.issuers[name] != nil:
		m.issuers[name].ServeHTTP(w, r)
	case m.idps[name] != nil:
		m.idps[name].Handler().ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// identityProviders makes issuers and IdPs with the keys of the folder, which it makes at the first time.
func (m *maker) identityProviders() error {
	for _, name := range []string{"okta", "ping", "old", "before", "after"} {
		key, err := m.key(name)
		if err != nil {
			return err
		}
		i, err := issuer.New(issuer.Options{URL: m.base + "/" + name, Algorithms: []string{"ES256"}})
		if err != nil {
			return err
		}
		i.Withdraw(i.KeyID())
		i.Publish(issuer.Key{ID: name, Algorithm: "ES256", Use: "sig", Private: key})
		m.issuers[name] = i
	}
	for name, entity := range map[string]string{"adfs": "https://adfs.acme.example/saml", "shib": "https://shib.campus.example/idp"} {
		key, err := m.key(name)
		if err != nil {
			return err
		}
		if m.idps[name], err = idp.New(idp.Options{EntityID: entity, Key: key}); err != nil {
			return err
		}
	}
	metadata := filepath.Join(m.folder, "adfs.xml")
	if _, err := os.Stat(metadata); errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile(metadata, m.idps["adfs"].Metadata(), 0o644)
	}
	return nil
}

func (m *maker) key(name string) (*ecdsa.PrivateKey, error) {
	file := filepath.Join(m.folder, "keys", name+".pem")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o644)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key.(*ecdsa.PrivateKey), nil
}

// first creates everybody under the first directory.
func (m *maker) first() error {
	if m.database != "" {
		if _, err := m.do("migrate", "--only", "schema"); err != nil {
			return err
		}
	}
	if err := m.apply("directory-first.yaml"); err != nil {
		return err
	}
	for _, c := range []struct{ tenant, name, grants string }{
		{"acme", "admin", "user,admin,viewer"},
		{"acme", "hr", "user,admin,viewer"},
		{"acme", "both", "user,viewer"}, // used for commands and for a feed
		{"globex", "hr", "user"},
		{"hooli", "hr", "user"},
	} {
		token, err := m.do("credential", "create", "--tenant", c.tenant, "--name", c.name, "--grants", c.grants)
		if err != nil {
			return err
		}
		m.tokens[c.tenant+"/"+c.name] = strings.TrimSpace(token)
	}
	if err := m.start(); err != nil {
		return err
	}
	yes, no := map[string]any{"email_verified": true}, map[string]any{"email_verified": false}
	admin := map[string]any{"email_verified": true, "groups": []string{"user", "admin"}}
	oidc := func(email string, more string) string {
		return `{"email": "` + email + `", "name": "` + email + `", "auth_provider": "oidc"` + more + `}`
	}
	named := func(name, email string, organizations ...string) string {
		var list []string
		for _, o := range organizations {
			list = append(list, `{"organizationId": "`+o+`", "roleId": "`+viewer+`"}`)
		}
		return `{"identityName": "` + name + `", "displayName": "` + name + `", "email": "` + email + `", "firstName": "Given", "lastName": "Family", "organizations": [` + strings.Join(list, ", ") + `]}`
	}
	member := func(name string, organizations ...string) string {
		return named(name, name+"@acme.example", organizations...)
	}
	const password = `, "password_hash": "` + hash + `"`
	return m.all(
		m.oidc(acme, "okta", "okta", "owner", "owner@acme.example", 201, yes),
		m.oidc(acme, "okta", "okta", "ada", "ada@acme.example", 201, yes),
		m.oidc(acme, "okta", "okta", "chief", "chief@acme.example", 201, admin),
		m.oidc(acme, "okta", "okta", "unverified", "unverified@acme.example", 201, no),
		m.oidc(acme, "okta", "okta", "guest", "guest@other.example", 201, yes),
		m.oidc(acme, "ping", "ping", "pia", "pia@ping.example", 201, yes),
		m.oidc(acme, "ping", "ping", "pat", "pat@acme.example", 201, no),
		m.oidc(acme, "old", "old", "wanda", "wanda@acme.example", 201, yes),
		m.saml("adfs", "sam", "sam@acme.example", 201),
		m.saml("shib", "sue", "sue@campus.example", 201),
		m.command("admin", "command-oidc", 201, oidc("newadmin@acme.example", `, "roles": ["user", "admin"]`)),
		m.command("admin", "command-saml", 201, `{"email": "newsaml@acme.example", "name": "New Saml", "auth_provider": "saml"}`),
		m.command("admin", "command-organization", 201, member("orgcommand", sales)),
		m.command("admin", "command-local", 201, `{"email": "local@acme.example", "name": "Lo Cal", "password": "correct horse battery staple"}`),
		m.command("admin", "command-hash", 201, `{"email": "hash@acme.example", "name": "Ha Sh", "auth_provider": "local"`+password+`}`),
		m.command("both", "both", 201, oidc("both.command@acme.example", "")),
		m.feed(acme, "workday", "both", "both", 201, oidc("both.feed@acme.example", "")),
		m.feed(acme, "workday", "hr", "hr-oidc", 201, oidc("hr@acme.example", `, "roles": ["user"]`)),
		m.feed(acme, "workday", "hr", "hr-organization", 201, member("hrmember", sales)),
		m.feed(acme, "workday", "hr", "hr-grace", 201, named("grace", "grace@acme.example", sales)),
		m.feed(acme, "workday", "hr", "hr-twin", 201, named("gr\u0430ce", "twin@acme.example", sales)), // with a Cyrillic letter
		m.feed(acme, "workday", "hr", "hr-squatter", 201, named("president@acme.example", "squatter@acme.example", sales)),
		m.oidc(acme, "okta", "okta", "cyril", "\u0441yril@acme.example", 201, yes), // with a Cyrillic letter
		m.feed(acme, "trusted", "hr", "trusted-oidc", 201, oidc("trusted@acme.example", "")),
		m.feed(acme, "trusted", "hr", "trusted-organization", 201, member("trustedmember", sales, support)),
		m.feed(acme, "workday", "hr", "hr-linda", 201, oidc("linda@acme.example", `, "roles": ["user"]`)),
		m.oidc(acme, "okta", "okta", "linda", "linda@acme.example", 200, yes),
		m.command("admin", "command-olga", 201, member("olga", sales, support)),
		m.oidc(acme, "okta", "okta", "olga", "olga@acme.example", 200, yes),
		m.feed(globex, "hr", "hr", "globex-boss", 201, oidc("boss@globex.example", "")),
		m.oidc(globex, "okta", "okta", "gil", "gil@globex.example", 201, yes),
		m.feed(hooli, "hr", "hr", "hooli-boss", 201, `{"email": "boss@hooli.example", "name": "Boss", "auth_provider": "local"`+password+`}`),
		m.oidc(initech, "login", "before", "boss", "boss@initech.example", 201, yes),
		m.oidc(initech, "login", "before", "ida", "ida@initech.example", 201, yes),
		m.oidc(initech, "login", "before", "ivan", "ivan@initech.example", 201, yes),
		m.oidc(initech, "login", "before", "twice", "iris@initech.example", 201, yes),
		m.command("both", "both", 409, oidc("both.conflict@acme.example", "")), // another body under the id: a dead letter
		m.oidc(acme, "okta", "okta", "imposter", "ada@acme.example", 409, yes),
		m.stop,
	)
}

// second lets the issuer of initech move, and deals with some dead letters.
func (m *maker) second() error {
	yes := map[string]any{"email_verified": true}
	err := m.all(
		func() error { return m.apply("directory.yaml") },
		m.start,
		m.oidc(initech, "login", "after", "ivan", "ivan@initech.example", 409, yes),
		m.oidc(initech, "login", "after", "nina", "nina@initech.example", 201, yes),
		m.oidc(initech, "login", "after", "twice", "ines@initech.example", 201, yes),
	)
	if err != nil {
		return err
	}
	if _, err := m.do("dlq", "discard", "--tenant", acme, "--source", "okta", "--why", "an imposter", "--yes"); err != nil {
		return err
	}
	if _, err := m.do("dlq", "replay", "--tenant", initech, "--yes"); err != nil {
		log.Printf("a replay that fails again, as it must: %v", err)
	}
	return m.stop()
}

func (m *maker) all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// apply declares a directory of the folder.
func (m *maker) apply(name string) error {
	text, err := os.ReadFile(filepath.Join(m.folder, name))
	if err != nil {
		return err
	}
	metadata, err := os.ReadFile(filepath.Join(m.folder, "adfs.xml"))
	if err != nil {
		return err
	}
	file := filepath.Join(m.work, name)
	if err := errors.Join(
		os.WriteFile(file, bytes.ReplaceAll(text, []byte("BASE"), []byte(m.base)), 0o600),
		os.WriteFile(filepath.Join(m.work, "adfs.xml"), metadata, 0o600),
	); err != nil {
		return err
	}
	_, err = m.do("apply", "-f", file, "--yes")
	return err
}

func (m *maker) oidc(tenant, source, name, subject, email string, status int, more map[string]any) func() error {
	return func() error {
		claims := m.issuers[name].Claims(subject, "idpsync")
		maps.Copy(claims, map[string]any{"email": email, "name": subject})
		maps.Copy(claims, more)
		token, err := m.issuers[name].Sign(claims)
		if err != nil {
			return err
		}
		return m.send(status, token, "login", "--tenant", tenant, "--source", source, "--id", name+"-"+subject, "--wait=30s")
	}
}

func (m *maker) saml(name, nameID, email string, status int) func() error {
	return func() error {
		xml, err := m.idps[name].Respond(idp.Request{
			EntityID: "https://sp.acme.example/" + name, ACSURL: "https://sp.acme.example/" + name + "/acs", NameID: nameID,
			Attributes: []idp.Attribute{{Name: "mail", Values: []string{email}}, {Name: "displayName", Values: []string{nameID}}},
		})
		if err != nil {
			return err
		}
		return m.send(status, string(xml), "login", "--tenant", acme, "--source", name, "--id", name+"-"+nameID, "--wait=30s")
	}
}

func (m *maker) command(credential, id string, status int, body string) func() error {
	return func() error {
		return m.sendAs("acme/"+credential, status, body, "command", "--tenant", acme, "--via", "http", "--http-url", m.web, "--id", id)
	}
}

func (m *maker) feed(tenant, source, credential, id string, status int, body string) func() error {
	names := map[string]string{acme: "acme", globex: "globex", hooli: "hooli"}
	return func() error {
		return m.sendAs(names[tenant]+"/"+credential, status, body, "feed", "--tenant", tenant, "--source", source, "--id", id, "--wait=30s")
	}
}

func (m *maker) sendAs(credential string, status int, body string, args ...string) error {
	file := filepath.Join(m.work, "token")
	if err := os.WriteFile(file, []byte(m.tokens[credential]), 0o600); err != nil {
		return err
	}
	return m.send(status, body, append(args, "--token-file", file)...)
}

// send sends one event and compares the status of its answer.
func (m *maker) send(status int, body string, args ...string) error {
	file := filepath.Join(m.work, "event")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		return err
	}
	out, failure := m.do(append(append([]string{"send"}, args...), "--json", file)...)
	var answer struct {
		Status string `json:"status"`
		Body   json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return errors.Join(err, failure)
	}
	if answer.Status != strconv.Itoa(status) {
		return fmt.Errorf("%v: got status %s, wanted %d: %s", args, answer.Status, status, answer.Body)
	}
	return nil
}

// environment finds the database and the embedded broker.
func (m *maker) environment() []string {
	env := []string{"IDPSYNC_DATA_DIR=" + filepath.Join(m.work, "data"), "HOME=" + m.work, "PATH=" + os.Getenv("PATH")}
	if m.database != "" {
		env = append(env, "IDPSYNC_DATABASE_URL="+m.database)
	}
	return env
}

// do runs a verb and returns what it prints.
func (m *maker) do(args ...string) (string, error) {
	cmd := exec.CommandContext(m.ctx, m.program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = m.environment(), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("idpsync %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// start starts the worker and waits until it is ready.
func (m *maker) start() error {
	m.log = &output{grown: make(chan struct{}, 1)}
	m.worker = exec.CommandContext(m.ctx, m.program, "run", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--log-format", "json")
	m.worker.Env, m.worker.Stderr = m.environment(), m.log
	if err := m.worker.Start(); err != nil {
		return err
	}
	address, err := m.log.await(m.ctx, regexp.MustCompile(`"msg":"HTTP API listens","address":"([^"]+)"`))
	if err != nil {
		return err
	}
	m.web = "http://" + address
	_, err = m.log.await(m.ctx, regexp.MustCompile(`"msg":"(worker ready)"`))
	return err
}

func (m *maker) stop() error {
	if m.worker == nil {
		return nil
	}
	worker := m.worker
	m.worker = nil
	return errors.Join(worker.Process.Signal(os.Interrupt), worker.Wait())
}

// save writes the database as SQL text, with its credentials' tokens and its seal key.
func (m *maker) save() error {
	folder := filepath.Join(m.folder, "sqlite")
	cmd := exec.CommandContext(m.ctx, "sqlite3", filepath.Join(m.work, "data", "idpsync.db"), ".dump")
	if m.database != "" {
		folder = filepath.Join(m.folder, "postgres")
		cmd = exec.CommandContext(m.ctx, "pg_dump", "--inserts", "--no-owner", "--no-privileges", m.database)
	}
	cmd.Stderr = os.Stderr
	dump, err := cmd.Output()
	if err != nil {
		return err
	}
	tokens, err := json.MarshalIndent(m.tokens, "", "  ")
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(m.work, "data", "seal.key"))
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "dump.sql"), []byte(m.readable(string(dump))), 0o644),
		os.WriteFile(filepath.Join(folder, "tokens.json"), append(tokens, '\n'), 0o644),
		os.WriteFile(filepath.Join(folder, "seal.key"), key, 0o644),
	)
}

var (
	sqliteBytes   = regexp.MustCompile(`X'([0-9A-Fa-f]*)'`)
	postgresBytes = regexp.MustCompile(`'\\x([0-9a-f]*)'`)
	settings      = regexp.MustCompile(`(?m)^(--.*|\\.*|SET .*|SELECT pg_catalog\.set_config.*|)\n`)
	host          = regexp.MustCompile(`'[^'@]+@[^'@.]+'`)
)

// readable writes bytes that are text as text, and puts BASE in the place of the web server's address.
func (m *maker) readable(dump string) string {
	bytesAs := func(re *regexp.Regexp, prefix, suffix string) {
		dump = re.ReplaceAllStringFunc(dump, func(s string) string {
			raw, err := hex.DecodeString(re.FindStringSubmatch(s)[1])
			if err != nil || len(raw) == 0 || !utf8.Valid(raw) || slices.ContainsFunc([]rune(string(raw)), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				return s
			}
			return prefix + "'" + strings.ReplaceAll(string(raw), "'", "''") + "'" + suffix
		})
	}
	if m.database == "" {
		bytesAs(sqliteBytes, "cast(", " as blob)")
	} else {
		dump = settings.ReplaceAllString(dump, "")
		bytesAs(postgresBytes, "convert_to(", ", 'UTF8')")
	}
	dump = strings.ReplaceAll(dump, m.base, "BASE")
	return host.ReplaceAllString(dump, "'operator@host'") // who ran the verbs, in the audit
}

// An output is what a process prints, to be waited for.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.grown <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) await(ctx context.Context, re *regexp.Regexp) (string, error) {
	for {
		o.mu.Lock()
		match, text := re.FindStringSubmatch(o.b.String()), o.b.String()
		o.mu.Unlock()
		if match != nil {
			return match[1], nil
		}
		if strings.Contains(text, "idpsync: ") {
			return "", errors.New(text)
		}
		select {
		case <-o.grown:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
