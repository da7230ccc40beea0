package providers

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestTokenForm(t *testing.T) {
	random := make([]byte, 42)
	for i := range random {
		random[i] = byte(i)
	}
	id, token, hash, err := NewToken(bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	const want = "idpsync_aaaqeayeaudaocaj_CgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCk"
	if token.Reveal() != want {
		t.Errorf("token = %s, want %s", token.Reveal(), want)
	}
	if id != "aaaqeayeaudaocaj" {
		t.Errorf("the id is %s, want aaaqeayeaudaocaj", id)
	}
	sum := sha256.Sum256([]byte(want[strings.LastIndexByte(want, '_')+1:]))
	if !bytes.Equal(hash, sum[:]) {
		t.Errorf("the hash is %s, want %s", hex.EncodeToString(hash), hex.EncodeToString(sum[:]))
	}
	if s := token.String(); strings.Contains(s, "Cgs") {
		t.Errorf("a token prints itself: %s", s)
	}
}

func TestTokenWithoutRandomness(t *testing.T) {
	if _, token, _, err := NewToken(strings.NewReader("short")); err == nil || token != "" {
		t.Errorf("without randomness the token is %q with the error %v, want none and an error", token.Reveal(), err)
	}
}

func TestParseTokenTakesWhatNewTokenMakes(t *testing.T) {
	for range 1000 {
		id, token, hash, err := NewToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		gotID, gotHash, err := ParseToken(token.Reveal())
		if err != nil || gotID != id || !bytes.Equal(gotHash, hash) {
			t.Fatalf("ParseToken(%s) gives %s, %x and the error %v, want %s and %x", token.Reveal(), gotID, gotHash, err, id, hash)
		}
	}
}

func TestParseTokenRefuses(t *testing.T) {
	const good = "idpsync_aaaqeayeaudaocaj_CgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCk"
	if _, _, err := ParseToken(good); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"empty":               "",
		"prefix only":         "idpsync_",
		"other prefix":        strings.Replace(good, "idpsync", "IDPSYNC", 1),
		"space before":        " " + good,
		"line feed after":     good + "\n",
		"line feed within":    good[:60] + "\n" + good[61:],
		"longer":              good + "A",
		"shorter":             good[:len(good)-1],
		"upper-case id":       strings.Replace(good, "aaaq", "AAAQ", 1),
		"id with 1":           strings.Replace(good, "aaaq", "aa1q", 1),
		"dot for underscore":  strings.Replace(good, "j_C", "j.C", 1),
		"standard base64":     good[:len(good)-2] + "+/",
		"padding":             good[:len(good)-1] + "=",
		"unused bits are set": good[:len(good)-1] + "l",
		"a JWT":               "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
	} {
		t.Run(name, func(t *testing.T) {
			id, hash, err := ParseToken(token)
			if !errors.Is(err, ErrNoToken) || id != "" || hash != nil {
				t.Errorf("ParseToken gives %q, %x and the error %v, want nothing and %v", id, hash, err, ErrNoToken)
			}
			if token != "" && strings.Contains(err.Error(), token) && len(token) > 8 {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}
