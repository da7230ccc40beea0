package worker_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestEveryFaultyFieldIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	for name, c := range map[string]struct {
		body   map[string]any
		fields []string
	}{
		"organization shape, blanks": {
			map[string]any{"identityName": " ", "displayName": "", "email": "\t", "firstName": "\u00a0", "lastName": "\u3000", "organizations": []any{}},
			[]string{"displayName", "email", "firstName", "identityName", "lastName", "organizations"},
		},
		"organization shape, absent": {map[string]any{"identityName": "x"}, []string{"displayName", "email", "firstName", "lastName", "organizations"}},
		"organization shape, ill-formed": {
			map[string]any{
				"identityName": "a\u202eb", "displayName": strings.Repeat("x", 257), "email": "nobody", "firstName": "a\x00", "lastName": "b\u200b",
				"organizations": []map[string]string{
					{"organizationId": "{" + workertest.Sales + "}", "roleId": workertest.Viewer}, {"organizationId": workertest.Sales, "roleId": "viewer"}, {"organizationId": "", "roleId": ""},
				},
			},
			[]string{
				"displayName", "email", "firstName", "identityName", "lastName", "organizations[0].organizationId", "organizations[1].roleId",
				"organizations[2].organizationId", "organizations[2].roleId",
			},
		},
		"tenant shape": {
			map[string]any{"email": "a@b", "name": "  ", "auth_provider": "ldap", "avatar": "x"}, []string{"auth_provider", "avatar", "email", "name"},
		},
		"tenant shape, local without password":   {tenantUser("a", "local"), []string{"password"}},
		"tenant shape, both passwords":           {with(tenantUser("a", "local"), map[string]any{"password": "12345678", "password_hash": bcryptHash}), []string{"password_hash"}},
		"tenant shape, password for a login":     {with(tenantUser("a", "oidc"), map[string]any{"password": "12345678", "password_hash": bcryptHash}), []string{"password", "password_hash"}},
		"tenant shape, password in the clear":    {with(tenantUser("a", "local"), map[string]any{"password": "12345678"}), []string{"password"}},
		"tenant shape, hash that costs too much": {with(tenantUser("a", "local"), map[string]any{"password_hash": "$2b$31" + bcryptHash[6:]}), []string{"password_hash"}},
	} {
		r := s.feed(acme, "workday", c.body)
		s.want(r, 400, record.OutcomeRejected)
		if got := fieldsOf(r); r.Code != record.CodeInvalidInput || !slices.Equal(got, c.fields) {
			t.Errorf("%s: wanted %v, got %s", name, c.fields, r.Data)
		}
		if strings.Contains(string(r.Data), "12345678") || strings.Contains(string(r.Data), bcryptHash[7:]) {
			t.Errorf("%s: the answer repeats a secret: %s", name, r.Data)
		}
		if letter := d.AwaitLetter(r.EventID); letter.Code != record.CodeInvalidInput {
			t.Errorf("%s: the dead letter has the header %v, want code invalid_input", name, letter.Header)
		}
	}
	if n := len(d.Users(acme)); n != 0 {
		t.Errorf("there are %d users, want none", n)
	}
}

func TestNamesMayHoldAnyScriptAndNothingThatDisguises(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	n := 0
	person := func(name string) map[string]any {
		n++
		return with(tenantUser("p"+string(rune('a'+n/26))+string(rune('a'+n%26)), "oidc"), map[string]any{"name": name})
	}
	for _, name := range []string{
		"Zoë", "Ζωή", "זואי", "زوئي", "佐藤", "क्\u200dष", "می\u200cخواهم", "O'Brien-Smith, Jr.", "👩\u200d💻", strings.Repeat("x", 256), strings.Repeat("佐", 256), " padded ",
	} {
		r := s.feed(acme, "workday", person(name))
		s.want(r, 201, record.OutcomeCreated)
		if r.Body["name"] != name {
			t.Errorf("%q is not kept as given: %s", name, r.Data)
		}
	}
	for _, name := range []string{
		"", " ", "\u00a0\u3000", "a\x00b", "a\nb", "a\tb", "a\x7fb", "a\u0085b", "a\u202eb", "a\u2066b", "a\u200bb", "a\u2060b", "\ufeffa", "a\u2028b", "a\u2029b", "a\u00adb", "a\ue000b", "a\U000e0041b",
		strings.Repeat("x", 257),
	} {
		r := s.feed(acme, "workday", person(name))
		s.want(r, 400, record.OutcomeRejected)
		if got := fieldsOf(r); !slices.Equal(got, []string{"name"}) {
			t.Errorf("the name %q gets %s, want a fault of name alone", name, r.Data)
		}
	}
}

func TestAddressesThatNobodyReachesAreRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"", "a", "@b.example", "a@", "a@b", "a b@c.example", "a@b..example", "a@.example", "a@example.", "a@-b.example", "a@b-.example", "a@[127.0.0.1]", "a@127.0.0.1",
		`"a b"@c.example`, `"a"@c.example`, "Ada <a@c.example>", "<a@c.example>", "a@c.example,b@c.example", "a@c.example\r\nBcc: b@c.example", "a\u200b@c.example", "a@c\u200b.example",
		"a\u202e@c.example", "a@c_d.example", "a@xn--a.example", "a@" + strings.Repeat("a", 64) + ".example", strings.Repeat("a", 65) + "@c.example",
		"a@" + strings.Repeat("aaaaaaa.", 32) + "example", "a\x00@c.example", "a@b@c.example", "a..b@c.example", ".a@c.example", "\xff@c.example",
	} {
		if e, err := rules.ParseEmail(address); err == nil {
			t.Errorf("%q is read as %+v, want an error", address, e)
		}
	}
	for address, want := range map[string]rules.Email{
		"Ada@Acme.Example":                      {Given: "Ada@Acme.Example", Key: "ada@acme.example", Domain: "acme.example"},
		"a+b@c.example":                         {Given: "a+b@c.example", Key: "a+b@c.example", Domain: "c.example"},
		"o'brien@c.example":                     {Given: "o'brien@c.example", Key: "o'brien@c.example", Domain: "c.example"},
		"zoë@bücher.example":                    {Given: "zoë@bücher.example", Key: "zoë@xn--bcher-kva.example", Domain: "xn--bcher-kva.example"},
		strings.Repeat("a", 64) + "@c.example":  {Given: strings.Repeat("a", 64) + "@c.example", Key: strings.Repeat("a", 64) + "@c.example", Domain: "c.example"},
		"a@" + strings.Repeat("a", 63) + ".com": {Given: "a@" + strings.Repeat("a", 63) + ".com", Key: "a@" + strings.Repeat("a", 63) + ".com", Domain: strings.Repeat("a", 63) + ".com"},
	} {
		if got, err := rules.ParseEmail(address); err != nil || got != want {
			t.Errorf("%q is read as %+v with the error %v, want %+v", address, got, err, want)
		}
	}
}

func encoded(t *testing.T, encode func(*bytes.Buffer, image.Image) error, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(b *bytes.Buffer, m image.Image) error  { return png.Encode(b, m) }
func asJPEG(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }
func asGIF(b *bytes.Buffer, m image.Image) error  { return gif.Encode(b, m, nil) }

// oneWebP is a lossless WebP image of one pixel.
const oneWebP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="

func TestAvatarIsTheImageThatItSaysItIs(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	uri := func(mediaType string, data []byte) string {
		return "data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(data)
	}
	small := encoded(t, asPNG, 2, 2)
	full := append(slices.Clone(small), make([]byte, 196_608-len(small))...) // 262,144 characters of base64
	for name, c := range map[string]struct {
		avatar string
		ok     bool
	}{
		"png":             {uri("image/png", small), true},
		"PNG":             {uri("IMAGE/PNG", small), true},
		"jpeg":            {uri("image/jpeg", encoded(t, asJPEG, 2, 2)), true},
		"gif":             {uri("image/gif", encoded(t, asGIF, 2, 2)), true},
		"webp":            {"data:image/webp;base64," + oneWebP, true},
		"largest":         {uri("image/png", full), true},
		"widest":          {uri("image/png", encoded(t, asPNG, 8192, 1)), true},
		"too large":       {uri("image/png", append(full, 0)), false},
		"too wide":        {uri("image/png", encoded(t, asPNG, 8193, 1)), false},
		"too high":        {uri("image/png", encoded(t, asPNG, 1, 8193)), false},
		"png as jpeg":     {uri("image/jpeg", small), false},
		"jpeg as png":     {uri("image/png", encoded(t, asJPEG, 2, 2)), false},
		"cut":             {uri("image/png", small[:20]), false},
		"text as png":     {uri("image/png", []byte("<script>")), false},
		"svg":             {uri("image/svg+xml", []byte("<svg/>")), false},
		"html":            {uri("text/html", []byte("<script>")), false},
		"no media type":   {uri("", small), false},
		"parameters":      {uri("image/png;charset=utf-8", small), false},
		"not base64":      {"data:image/png;base64,####", false},
		"no padding":      {strings.TrimRight(uri("image/png", small[:67]), "="), false},
		"percent-encoded": {"data:image/png,%89PNG", false},
		"address":         {"https://acme.example/a.png", false},
	} {
		body := with(tenantUser(strings.ToLower(strings.Map(letters, name)+suffix(name)), "oidc"), map[string]any{"avatar": c.avatar})
		r := s.feed(acme, "workday", body)
		if c.ok {
			s.want(r, 201, record.OutcomeCreated)
			if r.Body["avatar"] != c.avatar {
				t.Errorf("%s: the avatar is %.100v, want it as given", name, r.Body["avatar"])
			}
			continue
		}
		s.want(r, 400, record.OutcomeRejected)
		if got := fieldsOf(r); !slices.Equal(got, []string{"avatar"}) {
			t.Errorf("%s: the event gets %.300s, want a fault of avatar alone", name, r.Data)
		}
	}
}

func letters(r rune) rune {
	if r == ' ' || r == '-' {
		return -1
	}
	return r
}

// suffix tells PNG from png where case does not count.
func suffix(name string) string {
	if strings.ToUpper(name) == name {
		return "upper"
	}
	return ""
}

func TestSealedPasswordIsOpenedHashedAndNeverShown(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		const secret = "correct horse battery staple"
		sealed, err := seal.Text(d.Key.KeyID(), []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		r := s.feed(acme, "workday", with(tenantUser("ada", "local"), map[string]any{"password": sealed}))
		s.want(r, 201, record.OutcomeCreated)
		u := d.User(acme, "ada@acme.example")
		if !strings.HasPrefix(u.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("the hash begins with %.20s, want argon2id with m=19456, t=2, p=1", u.PasswordHash)
		}
		for _, hidden := range []string{secret, u.PasswordHash, sealed} {
			if bytes.Contains(r.Data, []byte(hidden)) {
				t.Errorf("the result shows a secret")
			}
		}
		short, err := seal.Text(d.Key.KeyID(), []byte("seven77"))
		if err != nil {
			t.Fatal(err)
		}
		for _, password := range []string{short, "sealed:x1:AAAA", sealed[:len(sealed)-4]} {
			r := s.feed(acme, "workday", with(tenantUser("grace", "local"), map[string]any{"password": password}))
			s.want(r, 400, record.OutcomeRejected)
			if got := fieldsOf(r); !slices.Equal(got, []string{"password"}) {
				t.Errorf("the password %q gets %s, want a fault of password alone", password, r.Data)
			}
		}
	})
}

func TestPasswordHashesOfOtherSystemsAreTakenWithinBounds(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	const salt, hash = "c2FsdHNhbHRzYWx0", "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
	n := 0
	send := func(h string) workertest.Record {
		n++
		return s.feed(acme, "workday", with(tenantUser("p"+string(rune('a'+n/26))+string(rune('a'+n%26)), "local"), map[string]any{"password_hash": h}))
	}
	for _, h := range []string{
		bcryptHash, "$2a" + bcryptHash[3:], "$2y" + bcryptHash[3:],
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + hash, "$argon2i$v=19$m=65536,t=3,p=4$" + salt + "$" + hash,
		"$scrypt$ln=17,r=8,p=1$" + salt + "$" + hash, "$pbkdf2-sha256$i=600000$" + salt + "$" + hash, "$pbkdf2-sha512$i=210000,l=32$" + salt + "$" + hash,
	} {
		s.want(send(h), 201, record.OutcomeCreated)
	}
	for _, h := range []string{
		"5f4dcc3b5aa765d61d8327deb882cf99", "$1$salt$hash", "$2b$03" + bcryptHash[6:], "$2b$16" + bcryptHash[6:], bcryptHash[:59], bcryptHash + "x", "$2x" + bcryptHash[3:],
		"$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + hash, "$argon2id$v=19$m=19456,t=1000,p=1$" + salt + "$" + hash, "$argon2id$v=19$m=19456,t=2,p=255$" + salt + "$" + hash,
		"$argon2id$m=19456,t=2,p=1$" + salt + "$" + hash, "$argon2d$v=19$m=19456,t=2,p=1$" + salt + "$" + hash, "$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=019456,t=2,p=1$" + salt + "$" + hash, "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + hash, "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$aGFzaA",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "=$" + hash, "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + hash + "\n",
		"$scrypt$ln=31,r=8,p=1$" + salt + "$" + hash, "$scrypt$ln=20,r=32,p=1$" + salt + "$" + hash, "$pbkdf2-sha256$i=1$" + salt + "$" + hash,
		"$pbkdf2-sha256$i=999999999$" + salt + "$" + hash, "$pbkdf2-sha256$i=600000,l=64$" + salt + "$" + hash, "$pbkdf2-md5$i=600000$" + salt + "$" + hash, strings.Repeat("$", 600),
		"$2b$09" + bcryptHash[6:], "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + hash, "$scrypt$ln=1,r=8,p=1$" + salt + "$" + hash, "$pbkdf2-sha256$i=1000$" + salt + "$" + hash,
	} {
		r := send(h)
		s.want(r, 400, record.OutcomeRejected)
		if got := fieldsOf(r); !slices.Equal(got, []string{"password_hash"}) || strings.Contains(string(r.Data), hash) {
			t.Errorf("the hash %.40q gets %s, want a fault of password_hash alone, not repeating it", h, r.Data)
		}
	}
}

func TestDeploymentMayTakeWeakPasswordHashes(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start(func(c *worker.Config) { c.WeakHashes = true })
	token := d.Credential(acme, "user")
	for subject, test := range map[string]struct {
		hash   string
		status int
	}{
		"weak":    {"$2b$04" + bcryptHash[6:], 201},
		"no hash": {"5f4dcc3b5aa765d61d8327deb882cf99", 400},
	} {
		body := tenantUser("weak", "local")
		body["password_hash"] = test.hash
		if a, _ := p.Submit(d.Ctx, submission(token, subject, body)); a.Status != test.status {
			t.Errorf("%s: the answer is %d %s, want %d", subject, a.Status, a.Body, test.status)
		}
	}
}
