package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// Tenants of the former deployment.
const (
	hooli   = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	initech = "5489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
)

const formerFolder = "testdata/upgrade"

// A former deployment has a database that an earlier version of the program has filled; testdata/upgrade/README.md says
// with whom. Its issuers and IdPs have the keys of that time.
type former struct {
	*federation
	tokens map[string]string // of credentials, by tenant/name
}

// formerDeployment loads the database of that kind. Nothing has migrated it yet.
func formerDeployment(t *testing.T, kind string) *former {
	t.Helper()
	f := &former{federation: newFederation(t, kind), tokens: map[string]string{}}
	for _, name := range []string{"okta", "ping", "old", "before", "after"} {
		i := f.issuerAt(t, name)
		i.Withdraw(i.KeyID())
		i.Publish(issuer.Key{ID: name, Algorithm: "ES256", Use: "sig", Private: formerKey(t, name)})
	}
	f.publish(t, "adfs", "https://adfs.acme.example/saml", formerKey(t, "adfs"))
	f.publish(t, "shib", "https://shib.campus.example/idp", formerKey(t, "shib"))
	f.write("adfs.xml", formerFile(t, "adfs.xml"))
	f.write("directory.yaml", f.placed(formerFile(t, "directory.yaml")))
	f.write("directory-first.yaml", f.placed(formerFile(t, "directory-first.yaml")))
	f.write("data/seal.key", formerFile(t, kind+"/seal.key"))
	if err := json.Unmarshal([]byte(formerFile(t, kind+"/tokens.json")), &f.tokens); err != nil {
		t.Fatal(err)
	}
	o := store.Options{Path: f.path("data/" + sqliteFile)}
	if kind == store.Postgres {
		o = f.data
	}
	storetest.Load(t, o, f.placed(formerFile(t, kind+"/dump.sql")))
	return f
}

func formerFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(formerFolder, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func formerKey(t *testing.T, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode([]byte(formerFile(t, "keys/"+name+".pem")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		t.Fatalf("the key of %s cannot sign", name)
	}
	return signer
}

// TestFormerDeploymentsLoad shows that both fixtures hold the same people.
func TestFormerDeploymentsLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := formerDeployment(t, kind)
			f.must("migrate", "--only", "schema")
			for tenant, want := range map[string]int{acme: 27, globex: 2, hooli: 1, initech: 6} {
				if users := f.users(tenant); len(users) != want {
					t.Errorf("tenant %s: got %d users, wanted %d", tenant, len(users), want)
				}
			}
		})
	}
}

// TestUpgradeKeepsEveryPerson migrates the former deployment and lets each person of its README do what she must still be
// able to do.
func TestUpgradeKeepsEveryPerson(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := formerDeployment(t, kind)
			u := &upgrade{&story{federation: f.federation, t: t, web: client(t)}, f.tokens, 0}
			u.migrate()
			u.start()
			u.sentAgain()
			u.known()
			u.provisioned()
			u.keptOut()
			u.owned()
			u.credentials()
			u.moved()
			u.withdrawn()
			for tenant, want := range map[string]int{acme: 27 + 1 + 4 + u.imposters, globex: 2, hooli: 1, initech: 6} { // the president, and four of credentials
				if users := f.users(tenant); len(users) != want {
					t.Errorf("tenant %s after all of that: got %d users, wanted %d", tenant, len(users), want)
				}
			}
		})
	}
}

// An upgrade is the former deployment under this version of the program.
type upgrade struct {
	*story
	tokens    map[string]string // of credentials
	imposters int               // who have users of their own
}

// migrate upgrades the database, and looks for what can't be told.
func (u *upgrade) migrate() {
	u.t.Helper()
	p := u.do("", "migrate", "--only", "schema")
	if p.code != kit.ExitOK {
		u.t.Fatalf("migrate: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
	}
	for what, name := range map[string]string{
		"the identities of a withdrawn source":       "/old",
		"the identities of an issuer that moved":     "/before",
		"an owner whom a feed made":                  "boss@globex.example",
		"an owner whom a feed made, with a password": "boss@hooli.example",
	} {
		if !strings.Contains(p.stdout+p.stderr, name) {
			u.t.Errorf("migrate: got no word of %s (%s), wanted it to be listed:\n%s%s", what, name, p.stdout, p.stderr)
		}
	}
	for _, name := range []string{u.base + "/okta", u.base + "/ping", u.base + "/after", "https://adfs.acme.example/saml", "https://shib.campus.example/idp"} {
		if strings.Contains(p.stdout+p.stderr, name) {
			u.t.Errorf("migrate: got %s among what can't be told, wanted it to be pinned without a word:\n%s%s", name, p.stdout, p.stderr)
		}
	}
	if p = u.do("", "migrate", "--only", "schema"); p.code != kit.ExitOK {
		u.t.Errorf("migrate, again: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
	}
}

// idOf returns the id of the user of a tenant with an address, who must be the only one.
func (u *upgrade) idOf(tenant, email string) string {
	u.t.Helper()
	var ids []string
	for _, user := range u.users(tenant) {
		if user.Email == email {
			ids = append(ids, user.ID)
		}
	}
	if len(ids) != 1 {
		u.t.Fatalf("users of tenant %s with the address %s: got %d, wanted 1", tenant, email, len(ids))
	}
	return ids[0]
}

// enter logs a person in.
func (u *upgrade) enter(tenant, source string, body []byte) reply {
	u.t.Helper()
	return u.event("idpsync.login."+tenant+"."+source, nil, body)
}

// sentAgain shows that what was sent before the upgrade and comes once more has the answer that it had.
func (u *upgrade) sentAgain() {
	u.t.Helper()
	const before = `{"email": "newadmin@acme.example", "name": "newadmin@acme.example", "auth_provider": "oidc", "roles": ["user", "admin"]}`
	u.user("a command that comes once more", u.commandAs(u.tokens["acme/admin"], "command-oidc", before), u.idOf(acme, "newadmin@acme.example"), "201 created")
	header := bearerOf(u.tokens["acme/hr"])
	header["Nats-Msg-Id"] = "hr-oidc"
	const hired = `{"email": "hr@acme.example", "name": "hr@acme.example", "auth_provider": "oidc", "roles": ["user"]}`
	got, ok := u.sendAs("hr-oidc", "idpsync.feed."+acme+".workday", header, []byte(hired), 20*time.Second)
	if !ok {
		u.t.Fatalf("a feed event that comes once more: got no answer in 20 s, wanted the one that it had")
	}
	u.user("a feed event that comes once more", got, u.idOf(acme, "hr@acme.example"), "201 created")
	other := strings.Replace(before, `"roles": ["user", "admin"]`, `"roles": ["user"]`, 1)
	u.refused("another command under the id of one before the upgrade", u.commandAs(u.tokens["acme/admin"], "command-oidc", other), "409 event_id_conflict")
}

// known logs in everybody whose identity is known.
func (u *upgrade) known() {
	u.t.Helper()
	for _, p := range []struct {
		tenant, source, issuer, subject, email string
		more                                   map[string]any
	}{
		{acme, "okta", "okta", "owner", "owner@acme.example", nil},
		{acme, "okta", "okta", "ada", "ada@acme.example", nil},
		{acme, "okta", "okta", "chief", "chief@acme.example", nil},
		{acme, "okta", "okta", "unverified", "unverified@acme.example", unproved},
		{acme, "okta", "okta", "unverified", "unverified@acme.example", nil},
		{acme, "okta", "okta", "guest", "guest@other.example", nil},
		{acme, "okta", "okta", "cyril", "\u0441yril@acme.example", nil},
		{acme, "okta", "okta", "linda", "linda@acme.example", nil},
		{acme, "okta", "okta", "olga", "olga@acme.example", nil},
		{acme, "ping", "ping", "pia", "pia@ping.example", nil},
		{acme, "ping", "ping", "pat", "pat@acme.example", unproved},
		{globex, "okta", "okta", "gil", "gil@globex.example", nil},
		{initech, "login", "after", "nina", "nina@initech.example", nil},
		{initech, "login", "after", "twice", "ines@initech.example", nil},
	} {
		got := u.enter(p.tenant, p.source, u.token(u.t, p.issuer, p.subject, p.email, p.more))
		u.user(p.email, got, u.idOf(p.tenant, p.email), "200 exists")
	}
	for name, email := range map[string]string{"adfs": "sam@acme.example", "shib": "sue@campus.example"} {
		subject, _, _ := strings.Cut(email, "@")
		u.user(email, u.enter(acme, name, assertion(u.t, u.idps[name], provider(name), subject, email)), u.idOf(acme, email), "200 exists")
	}
	u.roles("chief@acme.example", u.idOf(acme, "chief@acme.example"), []string{"admin", "user"}, 0)
	u.roles("olga@acme.example", u.idOf(acme, "olga@acme.example"), nil, 2)
}

// roles compares what a user of acme was granted.
func (u *upgrade) roles(email, id string, roles []string, organizations int) {
	u.t.Helper()
	d := u.detail(id)
	if !slices.Equal(d.Roles, roles) && len(d.Roles)+len(roles) > 0 || len(d.Organizations) != organizations {
		u.t.Errorf("%s: got the roles %v and %d organizations, wanted %v and %d", email, d.Roles, len(d.Organizations), roles, organizations)
	}
}

// provisioned logs in everybody who was created before her first login.
func (u *upgrade) provisioned() {
	u.t.Helper()
	for _, p := range []struct {
		email         string
		roles         []string
		organizations int
	}{
		{"newadmin@acme.example", []string{"admin", "user"}, 0},
		{"orgcommand@acme.example", nil, 1},
		{"both.command@acme.example", nil, 0},
		{"both.feed@acme.example", nil, 0},
		{"hr@acme.example", []string{"user"}, 0},
		{"hrmember@acme.example", nil, 1},
		{"trusted@acme.example", nil, 0},
		{"trustedmember@acme.example", nil, 2},
		{"grace@acme.example", nil, 1},
		{"twin@acme.example", nil, 1},
		{"squatter@acme.example", nil, 1},
	} {
		id := u.idOf(acme, p.email)
		before := u.look(id)
		got := u.enter(acme, "ping", u.token(u.t, "ping", "eve-"+p.email, p.email, nil))
		if got.status < 400 { // with a user of her own
			u.let("an imposter of "+p.email+" at a source without domains", got, "201 created")
			u.imposters++
		}
		u.refused("an imposter of "+p.email+" without proof", u.enter(acme, "okta", u.token(u.t, "okta", "eve-"+p.email, p.email, unproved)), "409 user_exists", "403 unverified_email")
		u.same(p.email, id, before)
		body := u.token(u.t, "okta", p.email, p.email, nil)
		u.user(p.email, u.enter(acme, "okta", body), id, "200 linked")
		u.user(p.email+", again", u.enter(acme, "okta", u.token(u.t, "okta", p.email, p.email, nil)), id, "200 exists")
		u.roles(p.email, id, p.roles, p.organizations)
	}
	const newsaml = "newsaml@acme.example"
	u.user(newsaml, u.enter(acme, "adfs", assertion(u.t, u.idps["adfs"], provider("adfs"), "newsaml", newsaml)), u.idOf(acme, newsaml), "200 linked")
	u.made("the president, whose address a squatter is called by", u.enter(acme, "okta", u.token(u.t, "okta", "president", "president@acme.example", nil)))
}

// keptOut shows who is still taken by no login.
func (u *upgrade) keptOut() {
	u.t.Helper()
	for _, email := range []string{"local@acme.example", "hash@acme.example"} {
		id := u.idOf(acme, email)
		before := u.look(id)
		u.refused("a login with the address of a user with a password", u.enter(acme, "okta", u.token(u.t, "okta", email, email, nil)), "409 user_exists")
		u.same(email, id, before)
	}
	u.refused("another subject with Ada's address", u.enter(acme, "okta", u.token(u.t, "okta", "eve", "ada@acme.example", nil)), "409 user_exists different_identity")
}

// owned logs the owners in.
func (u *upgrade) owned() {
	u.t.Helper()
	u.owners("after the upgrade", u.idOf(acme, "owner@acme.example"))
	const boss = "boss@globex.example"
	id := u.idOf(globex, boss)
	if got := u.user("the owner whom a feed made", u.enter(globex, "okta", u.token(u.t, "okta", "boss", boss, nil)), id, "200 linked"); !got.IsOwner {
		u.t.Errorf("the owner whom a feed made, after her login: got a user who is not the owner, wanted the owner")
	}
	const other = "boss@hooli.example"
	before := u.must("get", "users", u.idOf(hooli, other), "--json")
	u.refused("a login with the address of an owner with a password", u.enter(hooli, "okta", u.token(u.t, "okta", "boss", other, map[string]any{"aud": "hooli"})), "409 user_exists")
	if now := u.must("get", "users", u.idOf(hooli, other), "--json"); now != before {
		u.t.Errorf("the owner with a password was changed. Got:\n%s\nwanted:\n%s", now, before)
	}
}

// credentials shows that those without a purpose go on as before.
func (u *upgrade) credentials() {
	u.t.Helper()
	for i, c := range []struct{ name, feed string }{{"acme/admin", ""}, {"acme/hr", "workday"}, {"acme/both", ""}, {"acme/both", "workday"}} {
		body := tenantBody(fmt.Sprintf("new%d@acme.example", i), "oidc", "")
		if c.feed == "" {
			u.made("a command of the credential "+c.name, u.command(u.tokens[c.name], body))
			continue
		}
		u.made("a feed event of the credential "+c.name, u.hr(c.feed, u.tokens[c.name], body))
	}
}

// moved rescues those whom the changed issuer had locked out.
func (u *upgrade) moved() {
	u.t.Helper()
	enter := func(subject, email string) reply {
		u.t.Helper()
		return u.enter(initech, "login", u.token(u.t, "after", subject, email, nil))
	}
	u.refused("Ida, before her identity is moved", enter("ida", "ida@initech.example"), "409 user_exists")
	u.write("directory.yaml", u.declaration())
	p := u.do("", "identities", "move", "--tenant", "initech", "--from", u.base+"/before", "--to", "login", "--yes")
	if p.code != kit.ExitOK {
		u.t.Fatalf("identities move: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
	}
	if !strings.Contains(p.stdout+p.stderr, "twice") {
		u.t.Errorf("identities move: got no word of the subject twice, which stands under both issuers:\n%s%s", p.stdout, p.stderr)
	}
	u.start()
	for _, name := range []string{"boss", "ida", "ivan", "nina"} {
		email := name + "@initech.example"
		got := u.user(email+", after the move", enter(name, email), u.idOf(initech, email), "200 exists")
		if got.IsOwner != (name == "boss") {
			u.t.Errorf("%s, after the move: got is_owner %t, wanted %t", email, got.IsOwner, name == "boss")
		}
	}
	u.user("Ines, who has the subject twice", enter("twice", "ines@initech.example"), u.idOf(initech, "ines@initech.example"), "200 exists")
}

// declaration is the directory as this version wants it: the addresses of shib were never proved, and it has to say so.
func (u *upgrade) declaration() string {
	u.t.Helper()
	return strings.Replace(u.placed(formerFile(u.t, "directory.yaml")), "      - name: shib\n", "      - name: shib\n        unverified_email: accept\n", 1)
}

// withdrawn declares the source again whose people could not log in.
func (u *upgrade) withdrawn() {
	u.t.Helper()
	wanda := u.token(u.t, "old", "wanda", "wanda@acme.example", nil)
	u.refused("a person of a withdrawn source", u.enter(acme, "old", wanda), "404 unknown_source")
	first := u.placed(formerFile(u.t, "directory-first.yaml"))
	begin, end := strings.Index(first, "      - name: old\n"), strings.Index(first, "      - {name: workday")
	u.write("directory.yaml", strings.Replace(u.declaration(), "      - {name: workday", first[begin:end]+"      - {name: workday", 1))
	if p := u.do("", "apply", "-f", u.path("directory.yaml"), "--yes"); p.code != kit.ExitOK {
		u.t.Fatalf("apply of a source that was withdrawn: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
	}
	u.must("migrate", "--only", "schema") // which may pin her identity only now
	u.start()
	u.user("a person of a source that was withdrawn", u.enter(acme, "old", u.token(u.t, "old", "wanda", "wanda@acme.example", nil)), u.idOf(acme, "wanda@acme.example"), "200 exists")
}

// written makes rows of the new deployment what a worker of an earlier version, or a migrate that was killed after the
// schema, leaves.
func (s *story) written(queries ...string) {
	s.t.Helper()
	o := store.Options{Path: s.path("data/" + sqliteFile)}
	if s.environ["IDPSYNC_DATABASE_URL"] != "" {
		o = s.data
	}
	db := storetest.Database(s.t, o)
	for _, query := range queries {
		if _, err := db.ExecContext(s.ctx, query); err != nil {
			s.t.Fatalf("rows of an earlier version: %v", err)
		}
	}
}

// TestMigrateTwiceLetsEverybodyIn shows what becomes of identities that a worker of an earlier version makes after migrate.
// They have no kind: the source that made them meets them at once, and a second migrate pins them.
func TestMigrateTwiceLetsEverybodyIn(t *testing.T) {
	tell(t, "nothing but to log in with an identity that an earlier version made after migrate", func(s *story) {
		portal := "{name: portal, kind: oidc, issuer: BASE/okta, audiences: [portal], algorithms: [ES256], grants: [user]}"
		s.declare(okta, portal)
		ada := s.made("Ada", s.oidc("okta", "ada", "ada@acme.example", nil))
		s.written(`update identities set kind = ''`)
		other := func() reply {
			return s.loginAt("portal", s.token(s.t, "okta", "ada", "ada@acme.example", map[string]any{"aud": "portal"}))
		}
		s.user("Ada at the source that made her, before migrate has run again", s.oidc("okta", "ada", "ada@acme.example", nil), ada, "200 exists")
		s.refused("Ada at another source, before migrate has run again", other(), "409 user_exists different_source")
		s.must("migrate", "--only", "schema")
		s.user("Ada at another source, after migrate has run again", other(), ada, "200 exists")
		s.user("Ada at the source that made her, after migrate has run again", s.oidc("okta", "ada", "ada@acme.example", nil), ada, "200 exists")
	})
}

// TestUpgradeWithRowsOfAnEarlierWorker shows that a worker that starts brings rows up to date which were written since.
func TestUpgradeWithRowsOfAnEarlierWorker(t *testing.T) {
	for what, columns := range map[string]string{
		"an earlier worker wrote after migrate":   `name_skeleton = null`,
		"a migrate left that was killed too soon": `name_skeleton = null, email_reserved = null`,
	} {
		tell(t, "nothing but to go on with rows that "+what, func(s *story) {
			s.declare(okta, trusted)
			ida := s.made("Ida", s.oidc("okta", "ida", "ida@acme.example", asAdmin))
			hired := s.made("HR", s.hr("trusted", s.credentialFor("hr", "user,admin", "feed:trusted"), tenantBody("hired@acme.example", "oidc", `, "roles": ["user"]`)))
			s.written(`update identities set kind = ''`, `update users set `+columns)
			s.start()
			s.user("Ida's second login", s.oidc("okta", "ida", "ida@acme.example", nil), ida, "200 exists")
			s.refused("a command with Ida's address", s.command(s.credentialFor("admin", "user", "commands"), tenantBody("ida@acme.example", "oidc", "")), "409 user_exists")
			s.user("the first login of a person whom HR has provisioned", s.oidc("okta", "hired", "hired@acme.example", nil), hired, "200 linked")
		})
	}
}
