package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/providers/seal"
)

func generate(t *testing.T) (*seal.Key, []byte) {
	t.Helper()
	k, content, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k, content
}

func TestTextOpensForItsKeyOnly(t *testing.T) {
	k, _ := generate(t)
	other, _ := generate(t)
	for _, plain := range []string{"", "correct horse battery staple", strings.Repeat("ü", 4096)} {
		sealed, err := seal.Text(k.KeyID(), []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(sealed, "sealed:x1:") || plain != "" && strings.Contains(sealed, plain) {
			t.Errorf("the sealed form is %q, want sealed:x1: and nothing of the secret", sealed)
		}
		got, err := k.OpenText(sealed)
		if err != nil || string(got) != plain {
			t.Errorf("OpenText = %q, %v; want %q", got, err, plain)
		}
		if _, err := other.OpenText(sealed); !errors.Is(err, seal.ErrKey) {
			t.Errorf("another key: %v, want ErrKey", err)
		}
		again, err := seal.Text(k.KeyID(), []byte(plain))
		if err != nil || again == sealed {
			t.Errorf("equal texts look alike when sealed (%v)", err)
		}
	}
}

func TestEveryChangeIsNoticed(t *testing.T) {
	k, _ := generate(t)
	sealed, err := k.Seal([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := k.Open(changed); !errors.Is(err, seal.ErrForm) && !errors.Is(err, seal.ErrKey) {
			t.Errorf("a change of byte %d gives the error %v, want %v or %v", i, err, seal.ErrForm, seal.ErrKey)
		}
		if _, err := k.Open(sealed[:i]); err == nil {
			t.Errorf("cut to %d bytes: opened", i)
		}
	}
}

func TestDataAndTextAreNotTakenForEachOther(t *testing.T) {
	k, _ := generate(t)
	data, err := k.Seal([]byte("dead letter"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenText("sealed:x1:" + base64.RawURLEncoding.EncodeToString(data)); !errors.Is(err, seal.ErrForm) {
		t.Errorf("data opened as a text: %v", err)
	}
	text, err := seal.Text(k.KeyID(), []byte("password"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "sealed:x1:"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(raw); !errors.Is(err, seal.ErrForm) {
		t.Errorf("a text opened as data: %v", err)
	}
}

func TestOtherFormsAreRefused(t *testing.T) {
	k, _ := generate(t)
	good, err := seal.Text(k.KeyID(), []byte("password"))
	if err != nil {
		t.Fatal(err)
	}
	for name, sealed := range map[string]string{
		"empty":         "",
		"bare":          "password",
		"prefix only":   "sealed:",
		"version only":  "sealed:x1:",
		"other version": strings.Replace(good, "x1", "x2", 1),
		"padding":       good + "=",
		"line break":    good[:40] + "\n" + good[40:],
		"not base64":    "sealed:x1:****",
		"short":         "sealed:x1:AAAA",
	} {
		if _, err := k.OpenText(sealed); !errors.Is(err, seal.ErrForm) {
			t.Errorf("%s: %v, want ErrForm", name, err)
		}
	}
	for _, public := range []string{"", "X", k.KeyID() + "A", "UAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("X", 5000)} {
		if _, err := seal.Text(public, nil); !errors.Is(err, seal.ErrPublic) {
			t.Errorf("public key %.20q: %v, want ErrPublic", public, err)
		}
	}
}

func TestANewFirstLineChangesTheKey(t *testing.T) {
	old, oldContent := generate(t)
	_, newContent := generate(t)
	both, err := seal.Parse(append(append([]byte{}, newContent...), oldContent...))
	if err != nil {
		t.Fatal(err)
	}
	if both.KeyID() == old.KeyID() {
		t.Error("the old key is still the one that seals")
	}
	sealed, err := seal.Text(old.KeyID(), []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.OpenText(sealed); err != nil || string(got) != "before" {
		t.Errorf("the old key's text opens to %q with the error %v, want %q", got, err, "before")
	}
	if !both.Verify([]byte("record"), old.Sign([]byte("record"))) {
		t.Error("a signature of the old key does not hold any more")
	}
	if old.Verify([]byte("record"), both.Sign([]byte("record"))) {
		t.Error("a signature of the new key holds for the old one")
	}
	if both.Verify([]byte("recorD"), old.Sign([]byte("record"))) {
		t.Error("a signature holds for other data")
	}
}

func TestParseRepeatsNoKey(t *testing.T) {
	_, content := generate(t)
	broken := bytes.Replace(content, []byte("\nSX"), []byte("\nSY"), 1)
	for name, c := range map[string][]byte{"empty": nil, "comment": []byte("# nothing\n"), "broken": broken, "public": []byte("XAAA\n")} {
		_, err := seal.Parse(c)
		if err == nil {
			t.Errorf("%s: the file is accepted, want an error", name)
			continue
		}
		if bytes.Contains(c, []byte("S")) && strings.Contains(err.Error(), "SY") {
			t.Errorf("%s: the error shows the seed: %v", name, err)
		}
	}
}

func TestEnsureFileMakesOneKeyForAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	keys := make([]string, 8)
	makers := make([]bool, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, made, err := seal.EnsureFile(path, rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i], makers[i] = k.KeyID(), made
		})
	}
	wg.Wait()
	made := 0
	for i := range keys {
		if keys[i] != keys[0] || keys[i] == "" {
			t.Errorf("key %d is %q, want that of key 0, %q", i, keys[i], keys[0])
		}
		if makers[i] {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d say that they made it, want 1", made)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %o, want 600", info.Mode().Perm())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v with the error %v, want the key file alone", entries, err)
	}
}

func TestEnsureFileKeepsADamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(path, []byte("damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := seal.EnsureFile(path, rand.Reader); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("EnsureFile = %v, want an error that names the file", err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "damaged\n" {
		t.Errorf("the file was changed: %q, %v", content, err)
	}
}

func TestASignatureIsOfItsDataAndItsKeyAlone(t *testing.T) {
	k, _ := generate(t)
	other, _ := generate(t)
	signature := k.Sign([]byte("record"))
	changed := bytes.Clone(signature)
	changed[10] ^= 1
	for name, c := range map[string]struct {
		data, signature []byte
		want            bool
	}{
		"the data":      {[]byte("record"), signature, true},
		"other data":    {[]byte("records"), signature, false},
		"no data":       {nil, signature, false},
		"changed":       {[]byte("record"), changed, false},
		"cut":           {[]byte("record"), signature[:63], false},
		"none":          {[]byte("record"), nil, false},
		"another key's": {[]byte("record"), other.Sign([]byte("record")), false},
	} {
		if got := k.Verify(c.data, c.signature); got != c.want {
			t.Errorf("%s: the signature holds: %v, want %v", name, got, c.want)
		}
	}
}
