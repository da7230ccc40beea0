package rules

import (
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // a form that is imported
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"

	"github.com/idpsync/idpsync/providers"
)

func TestHashesOfRealLibrariesAreAccepted(t *testing.T) {
	password, salt := []byte("correct horse"), []byte("0123456789abcdef")
	b64 := base64.RawStdEncoding.EncodeToString
	must := func(b []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b64(b)
	}
	crypt, err := bcrypt.GenerateFromPassword(password, bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{
		hashPassword("correct horse", salt),
		"$argon2id$v=19$m=1024,t=1,p=2$MDEyMzQ1Njc4OWFiY2RlZg$VBd2shc2OvVxOLu6sBZpMiObqI8Subx6lg+oDGcMSvM", // by argon2id_hash_encoded of libargon2
		fmt.Sprintf("$argon2i$v=19$m=64,t=3,p=1$%s$%s", b64(salt), b64(argon2.Key(password, salt, 3, 64, 1, 32))),
		fmt.Sprintf("$scrypt$ln=4,r=8,p=1$%s$%s", b64(salt), must(scrypt.Key(password, salt, 16, 8, 1, 32))),
		fmt.Sprintf("$pbkdf2-sha1$i=1000$%s$%s", b64(salt), must(pbkdf2.Key(sha1.New, "correct horse", salt, 1000, 20))),
		fmt.Sprintf("$pbkdf2-sha256$i=1000,l=32$%s$%s", b64(salt), must(pbkdf2.Key(sha256.New, "correct horse", salt, 1000, 32))),
		fmt.Sprintf("$pbkdf2-sha512$i=1000$%s$%s", b64(salt), must(pbkdf2.Key(sha512.New, "correct horse", salt, 1000, 64))),
		string(crypt),
		strings.Replace(string(crypt), "$2a$", "$2b$", 1),
		strings.Replace(string(crypt), "$2a$", "$2y$", 1),
	} {
		if err := checkPasswordHash(hash); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
}

func TestHashesThatCannotBeImported(t *testing.T) {
	const salt, out = "MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	tail := "$" + salt + "$" + out
	for name, hash := range map[string]string{
		"empty":                  "",
		"plain text":             "correct horse",
		"dollars":                strings.Repeat("$", 60),
		"argon2d":                "$argon2d$v=19$m=64,t=1,p=1" + tail,
		"md5 crypt":              "$1$salt$abcdefghijklmnopqrstuv",
		"sha512 crypt":           "$6$rounds=5000$salt$abc",
		"old bcrypt":             "$2$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE",
		"broken bcrypt":          "$2x$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE",
		"bcrypt cost 31":         "$2b$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE",
		"bcrypt cost 03":         "$2b$03$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE",
		"bcrypt cost of letters": "$2b$1x$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE",
		"bcrypt short":           "$2b$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCD",
		"bcrypt long":            "$2b$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDEF",
		"bcrypt digits":          "$2b$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzAB+DE",
		"4 GiB":                  "$argon2id$v=19$m=4194304,t=1,p=1" + tail,
		"just above 256 MiB":     "$argon2id$v=19$m=262145,t=1,p=1" + tail,
		"memory overflow":        "$argon2id$v=19$m=99999999999999999999,t=1,p=1" + tail,
		"memory below 8p":        "$argon2id$v=19$m=15,t=1,p=2" + tail,
		"many passes":            "$argon2id$v=19$m=64,t=4294967295,p=1" + tail,
		"17 passes":              "$argon2id$v=19$m=64,t=17,p=1" + tail,
		"no pass":                "$argon2id$v=19$m=64,t=0,p=1" + tail,
		"many lanes":             "$argon2id$v=19$m=65536,t=1,p=255" + tail,
		"no lane":                "$argon2id$v=19$m=64,t=1,p=0" + tail,
		"other version":          "$argon2id$v=16$m=64,t=1,p=1" + tail,
		"no version":             "$argon2id$m=64,t=1,p=1" + tail,
		"order of parameters":    "$argon2id$v=19$t=1,m=64,p=1" + tail,
		"missing parameter":      "$argon2id$v=19$m=64,t=1" + tail,
		"parameter twice":        "$argon2id$v=19$m=64,t=1,p=1,p=1" + tail,
		"extra parameter":        "$argon2id$v=19$m=64,t=1,p=1,data=x" + tail,
		"leading zero":           "$argon2id$v=19$m=064,t=1,p=1" + tail,
		"sign":                   "$argon2id$v=19$m=+64,t=1,p=1" + tail,
		"hexadecimal":            "$argon2id$v=19$m=0x64,t=1,p=1" + tail,
		"no salt":                "$argon2id$v=19$m=64,t=1,p=1$$" + out,
		"short salt":             "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Ng$" + out,
		"long salt":              "$argon2id$v=19$m=64,t=1,p=1$" + strings.Repeat("MDEy", 22) + "$" + out,
		"short output":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$MDEyMzQ1Njc4OWFiY2Rl",
		"long output":            "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("MDEy", 22),
		"padding":                "$argon2id$v=19$m=64,t=1,p=1$" + salt + "==$" + out,
		"url base64":             "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2Rl-_$" + out,
		"unused bits":            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZh$" + out,
		"line break":             "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + out[:20] + "\n" + out[20:],
		"field too many":         "$argon2id$v=19$m=64,t=1,p=1" + tail + "$x",
		"scrypt of 2 GiB":        "$scrypt$ln=20,r=16,p=1" + tail,
		"scrypt just above":      "$scrypt$ln=18,r=9,p=1" + tail,
		"scrypt ln 63":           "$scrypt$ln=63,r=8,p=1" + tail,
		"scrypt N":               "$scrypt$n=16384,r=8,p=1" + tail,
		"pbkdf2 few":             "$pbkdf2-sha256$i=999" + tail,
		"pbkdf2 many":            "$pbkdf2-sha256$i=10000001" + tail,
		"pbkdf2 md5":             "$pbkdf2-md5$i=1000" + tail,
		"pbkdf2 bare":            "$pbkdf2-sha256$1000" + tail,
		"pbkdf2 length":          "$pbkdf2-sha256$i=1000,l=64" + tail,
		"too long":               "$argon2id$v=19$m=64,t=1,p=1" + tail + strings.Repeat("A", 512),
	} {
		err := checkPasswordHash(hash)
		if err == nil {
			t.Errorf("%s: the hash is accepted, want an error", name)
			continue
		}
		if hash != "" && strings.Contains(err.Error(), hash) || strings.Contains(err.Error(), out) {
			t.Errorf("%s: the error quotes the hash: %v", name, err)
		}
	}
}

func FuzzPasswordHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")
	f.Add("$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE")
	f.Add("$scrypt$ln=17,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")
	f.Fuzz(func(t *testing.T, s string) {
		if checkPasswordHash(s) == nil && (len(s) > maxHashLength || s[0] != '$' || strings.ContainsAny(s, " \r\n\x00")) {
			t.Errorf("the hash %q is accepted, want a bounded one that begins with $ and has no space", s)
		}
	})
}

// TestOurHashesAreThoseOfTheReference compares our PHC strings with those of libargon2 20171227, the reference implementation
// in C. They were made by argon2id_hash_encoded(2, 19456, 1, password, salt, 32), called through Python's ctypes.
func TestOurHashesAreThoseOfTheReference(t *testing.T) {
	for password, want := range map[providers.Secret]string{
		"correct horse": "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rk2Mi3E4dgRMg0fHaYaptWVZRKqs//6b6k3/nntqGJk",
		"correct horsE": "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$D4cXPk3EaZBkZTypsRC116KIOzQHhCDN1eMVXOuMCq8",
	} {
		if got := hashPassword(password, []byte("0123456789abcdef")); got != want {
			t.Errorf("the hash of %q is %s, wanted the reference's %s", password.Reveal(), got, want)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	const hash = "$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
	passwords := Passwords{Unseal: func(s string) ([]byte, error) {
		plain, ok := strings.CutPrefix(s, "sealed:test:")
		if !ok {
			return nil, errors.New("not sealed for us")
		}
		return []byte(plain), nil
	}}
	local := func(password, hash providers.Secret) providers.CreateUser {
		return providers.CreateUser{Shape: providers.ShapeTenant, AuthProvider: "local", Password: password, PasswordHash: hash}
	}
	of := func(provider string, password, hash providers.Secret) providers.CreateUser {
		r := local(password, hash)
		r.AuthProvider = provider
		return r
	}
	organization := local("", "")
	organization.Shape = providers.ShapeOrganization
	for _, c := range []struct {
		name     string
		request  providers.CreateUser
		door     providers.Door
		accept   bool
		want     string // field and code; "" for none
		password providers.Secret
		hash     string
	}{
		{"plain", local("correct horse", ""), providers.DoorHTTP, false, "", "correct horse", ""},
		{"8 characters", local("äöüßäöüß", ""), providers.DoorRPC, false, "", "äöüßäöüß", ""},
		{"7 characters", local("äöüßäöü", ""), providers.DoorHTTP, false, "password invalid", "", ""},
		{"256 characters", local(providers.Secret(strings.Repeat("ä", 256)), ""), providers.DoorHTTP, false, "", providers.Secret(strings.Repeat("ä", 256)), ""},
		{"257 characters", local(providers.Secret(strings.Repeat("a", 257)), ""), providers.DoorHTTP, false, "password too_long", "", ""},
		{"only spaces", local("        ", ""), providers.DoorHTTP, false, "", "        ", ""},
		{"none", local("", ""), providers.DoorHTTP, false, "password required", "", ""},
		{"both", local("correct horse", hash), providers.DoorHTTP, false, "password_hash not_allowed", "", ""},
		{"hash", local("", hash), providers.DoorStream, false, "", "", hash},
		{"no hash", local("", "correct horse"), providers.DoorHTTP, false, "password_hash invalid", "", ""},
		{"bare through the broker", local("correct horse", ""), providers.DoorStream, false, "password not_allowed", "", ""},
		{"bare through the broker, accepted", local("correct horse", ""), providers.DoorStream, true, "", "correct horse", ""},
		{"sealed through the broker", local("sealed:test:correct horse", ""), providers.DoorStream, false, "", "correct horse", ""},
		{"sealed hash", local("", "sealed:test:"+hash), providers.DoorStream, false, "", "", hash},
		{"sealed and short", local("sealed:test:short", ""), providers.DoorStream, false, "password invalid", "", ""},
		{"sealed and empty", local("sealed:test:", ""), providers.DoorStream, false, "password invalid", "", ""},
		{"sealed and no text", local("sealed:test:\xff\xfe\xff\xfe\xff\xfe\xff\xfe", ""), providers.DoorStream, false, "password invalid", "", ""},
		{"sealed for another key", local("sealed:x1:AAAA", ""), providers.DoorStream, false, "password invalid", "", ""},
		{"oidc", of("oidc", "", ""), providers.DoorHTTP, false, "", "", ""},
		{"oidc with a password", of("oidc", "correct horse", ""), providers.DoorHTTP, false, "password not_allowed", "", ""},
		{"saml with a hash", of("saml", "", hash), providers.DoorHTTP, false, "password_hash not_allowed", "", ""},
		{"unknown auth provider", of("ldap", "correct horse", ""), providers.DoorHTTP, false, "", "", ""},
		{"organization shape", organization, providers.DoorStream, false, "", "", ""},
	} {
		passwords.Durable = c.accept
		var d Draft
		got := ""
		for _, f := range passwords.check(&providers.Envelope{Door: c.door}, &c.request, &d) {
			got += f.Field + " " + f.Code
			for _, secret := range []string{"correct horse", "short", hash} {
				if strings.Contains(f.Message, secret) && !strings.Contains(f.Message, "shorter") {
					t.Errorf("%s: the fault quotes the secret: %s", c.name, f.Message)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: faults %q, want %q", c.name, got, c.want)
		}
		if c.want == "" && (d.Password != c.password || d.PasswordHash != c.hash) {
			t.Errorf("%s: the draft has password %q and hash %q, want %q and %q", c.name, d.Password.Reveal(), d.PasswordHash, c.password.Reveal(), c.hash)
		}
	}
}

func TestPayloadHashOfAPasswordEvent(t *testing.T) {
	at := func(body, password string) string {
		r := Request{
			Event: &providers.Envelope{Tenant: "t", Source: "admin", EventID: "1", Payload: []byte(body)},
			Draft: Draft{Password: providers.Secret(password)},
		}
		hash, ok := r.HashPassword()
		if !ok {
			t.Fatal("a request with a password: got no hash, want one")
		}
		return fmt.Sprintf("%x", hash)
	}
	first := at(`{"email":"a@acme.example","name":"A","password":"correct horse"}`, "correct horse")
	if again := at(`{"email":"a@acme.example","name":"A","password":"correct horse"}`, "correct horse"); again != first {
		t.Error("the same event has another hash")
	}
	if again := at(`{"password":"sealed:x1:…", "name":"A","email":"a@acme.example"}`, "correct horse"); again != first {
		t.Error("the same password, sealed, has another hash")
	}
	if other := at(`{"email":"a@acme.example","name":"A","password":"correct horsE"}`, "correct horsE"); other == first {
		t.Error("another password has the same hash")
	}
	if other := at(`{"email":"a@acme.example","name":"B","password":"correct horse"}`, "correct horse"); other == first {
		t.Error("another name has the same hash")
	}
	// Whoever reads ledger and users must not find the password by plain hashing.
	plain := sha256.Sum256([]byte(`{"email":"a@acme.example","name":"A","password":"correct horse"}`))
	if first == fmt.Sprintf("%x", plain) {
		t.Error("the hash is a plain one of the payload")
	}
}

// TestImportedHashesHaveALeastCost has each bound of the OWASP cheat sheet, and one step below it.
func TestImportedHashesHaveALeastCost(t *testing.T) {
	const tail = "$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	const crypt = "$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
	for strong, weak := range map[string]string{
		"$2b$10" + crypt:                        "$2b$09" + crypt,
		"$2y$15" + crypt:                        "$2a$04" + crypt,
		"$argon2id$v=19$m=47104,t=1,p=1" + tail: "$argon2id$v=19$m=47103,t=1,p=1" + tail,
		"$argon2id$v=19$m=19456,t=2,p=1" + tail: "$argon2id$v=19$m=19455,t=2,p=1" + tail,
		"$argon2i$v=19$m=12288,t=3,p=1" + tail:  "$argon2i$v=19$m=12287,t=3,p=1" + tail,
		"$argon2id$v=19$m=9216,t=4,p=1" + tail:  "$argon2id$v=19$m=9215,t=4,p=1" + tail,
		"$argon2id$v=19$m=7168,t=5,p=1" + tail:  "$argon2id$v=19$m=7167,t=5,p=1" + tail,
		"$argon2id$v=19$m=7168,t=16,p=2" + tail: "$argon2id$v=19$m=7167,t=16,p=2" + tail,
		"$scrypt$ln=17,r=8,p=1" + tail:          "$scrypt$ln=17,r=7,p=1" + tail,
		"$scrypt$ln=18,r=8,p=1" + tail:          "$scrypt$ln=16,r=8,p=1" + tail,
		"$scrypt$ln=16,r=8,p=2" + tail:          "$scrypt$ln=15,r=8,p=2" + tail,
		"$scrypt$ln=15,r=8,p=3" + tail:          "$scrypt$ln=14,r=8,p=4" + tail,
		"$scrypt$ln=14,r=8,p=5" + tail:          "$scrypt$ln=13,r=8,p=9" + tail,
		"$scrypt$ln=13,r=8,p=10" + tail:         "$scrypt$ln=12,r=8,p=16" + tail,
		"$pbkdf2-sha1$i=1300000" + tail:         "$pbkdf2-sha1$i=1299999" + tail,
		"$pbkdf2-sha256$i=600000,l=32" + tail:   "$pbkdf2-sha256$i=599999,l=32" + tail,
		"$pbkdf2-sha512$i=210000" + tail:        "$pbkdf2-sha512$i=209999" + tail,
	} {
		for hash, wantWeak := range map[string]bool{strong: false, weak: true} {
			if err := checkPasswordHash(hash); err != nil {
				t.Errorf("%s is not of a known form: %v", hash, err)
			}
			err := checkHashStrength(hash)
			if (err != nil) != wantWeak {
				t.Errorf("%s is judged with the error %v, want weak: %v", hash, err, wantWeak)
			}
			if err != nil && (!strings.Contains(err.Error(), "OWASP") || strings.Contains(err.Error(), "MDEy")) {
				t.Errorf("%s is refused with %q, want whose bound it is and nothing of the hash", hash, err)
			}
		}
	}
}
