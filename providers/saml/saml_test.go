package saml_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

func TestSuite(t *testing.T) {
	w := newWorld(t)
	honest := base64.StdEncoding.EncodeToString(w.respond(t, func(r *idp.Request) { r.Mode, r.Encrypt = idp.SignBoth, idp.AES256GCM }))
	login := func(t *testing.T, doc []byte) providers.Envelope { return w.login(t, doc) }
	providertest.Run(t, providertest.Suite{
		New: func(t *testing.T) providers.Provider { return w.provider(t) },
		Accepted: func(t *testing.T) providers.Envelope {
			return providertest.SAMLLogin(t, "adfs", honest, request, w.clock.Now())
		},
		Rejected: func(t *testing.T) map[string]providers.Envelope {
			tampered, err := idp.Tamper(w.respond(t), "ada-1815", "mallory")
			check(t, err)
			wrapped, err := idp.Wrap(w.respond(t, func(r *idp.Request) { r.Mode = idp.SignAssertion }), idp.WrapAssertionBefore, "mallory")
			check(t, err)
			return map[string]providers.Envelope{
				"tampered": login(t, tampered), "wrapped": login(t, wrapped),
				"expired":       login(t, w.respond(t, after(-20*time.Minute))),
				"not SAML":      login(t, []byte("<html/>")),
				"not base64":    providertest.SAMLLogin(t, "adfs", "!", request, w.clock.Now()),
				"not JSON":      providertest.Envelope("adfs", providers.ShapeLogin, []byte("{"), w.clock.Now()),
				"unknown field": providertest.Envelope("adfs", providers.ShapeLogin, []byte(`{"saml_response":"x","SAML_response":"y"}`), w.clock.Now()),
			}
		},
		Secrets: []string{honest, "ada-1815", "ada@acme.example", "mallory"},
	})
}

func TestModes(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	for name, mode := range map[string]idp.Mode{"response": idp.SignResponse, "assertion": idp.SignAssertion, "both": idp.SignBoth} {
		for _, algorithm := range []string{"", idp.AES128CBC, idp.AES256CBC, idp.AES128GCM, idp.AES256GCM} {
			t.Run(name+" "+algorithm, func(t *testing.T) {
				user, err := w.verify(t, p, w.respond(t, func(r *idp.Request) { r.Mode, r.Encrypt = mode, algorithm }))
				check(t, err)
				if *user.Identity != (providers.Identity{Issuer: idpID, Subject: "ada-1815"}) || user.Email != "ada@acme.example" || user.Name != "Ada Lovelace" {
					t.Errorf("the user has the identity %+v, e-mail %q and name %q, want those of Ada Lovelace", user.Identity, user.Email, user.Name)
				}
			})
		}
	}
}

func TestKeyTransport(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	for _, digest := range []string{"", idp.DigestSHA1, idp.DigestSHA256} {
		for _, mask := range []string{"", idp.MaskSHA1, idp.MaskSHA256} {
			if _, err := w.verify(t, p, w.respond(t, func(r *idp.Request) { r.Encrypt, r.KeyDigest, r.KeyMask = idp.AES128GCM, digest, mask })); err != nil {
				t.Errorf("digest %q, mask %q: %v", digest, mask, err)
			}
		}
	}
}

func TestAlgorithms(t *testing.T) {
	w := newWorld(t)
	curve := newIdP(t, idpID, w.clock)
	for _, c := range []struct {
		idp       *idp.IdP
		method    string
		allowSHA1 bool
		want      string
	}{
		{w.idp, dsig.RSASHA256SignatureMethod, false, ""},
		{w.idp, dsig.RSASHA384SignatureMethod, false, ""},
		{w.idp, dsig.RSASHA512SignatureMethod, false, ""},
		{w.idp, dsig.RSASHA1SignatureMethod, false, "algorithm"},
		{w.idp, dsig.RSASHA1SignatureMethod, true, ""},
		{curve, dsig.ECDSASHA256SignatureMethod, false, ""},
		{curve, dsig.ECDSASHA384SignatureMethod, false, ""},
		{curve, dsig.ECDSASHA1SignatureMethod, true, "algorithm"},
	} {
		t.Run(c.method, func(t *testing.T) {
			doc := mustRespond(t, c.idp, w.ask(func(r *idp.Request) { r.SignatureMethod, r.Mode = c.method, idp.SignBoth }))
			p := w.provider(t, func(s *providers.Source) { own(s).Metadata, own(s).AllowSHA1 = string(c.idp.Metadata()), c.allowSHA1 })
			_, err := w.verify(t, p, doc)
			if got := reason(t, err); got != c.want {
				t.Errorf("allow_sha1 %v: reason %q, want %q: %v", c.allowSHA1, got, c.want, err)
			}
		})
	}
}

// A user of many groups is no bomb.
func TestManyValues(t *testing.T) {
	w := newWorld(t)
	for _, mode := range []idp.Mode{idp.SignResponse, idp.SignAssertion, idp.SignBoth} {
		doc := w.respond(t, func(r *idp.Request) {
			r.Mode = mode
			for range 3000 {
				r.Attributes[2].Values = append(r.Attributes[2].Values, "group")
			}
		})
		last := edited(t, doc, func(r *etree.Element) {
			if signature := r.SelectElement("Signature"); signature != nil {
				r.AddChild(signature)
			}
		})
		for _, doc := range [][]byte{doc, last} {
			user, err := w.verify(t, w.provider(t), doc)
			check(t, err)
			if groups := user.Attributes["groups"].([]string); len(groups) != 3002 {
				t.Errorf("in the mode %d there are %d groups, want 3002", mode, len(groups))
			}
		}
	}
}

// Base64 comes in lines from some browsers' and IdPs' hands.
func TestBase64(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	doc := base64.StdEncoding.EncodeToString(w.respond(t))
	for name, c := range map[string]struct{ text, want string }{
		"one line": {doc, ""},
		"lines":    {doc[:76] + "\r\n" + doc[76:] + "\n", ""},
		"spaces":   {doc[:76] + " " + doc[76:], "base64"},
		"URL form": {strings.NewReplacer("+", "-", "/", "_").Replace(doc) + "-_", "base64"},
		"cut":      {doc[:len(doc)-1], "base64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Verify(t.Context(), providertest.SAMLLogin(t, "adfs", c.text, request, w.clock.Now()))
			if got := reason(t, err); got != c.want {
				t.Errorf("reason %q, want %q", got, c.want)
			}
		})
	}
}

// All that can go wrong with a CBC ciphertext in a Response that is not signed looks alike, in error and trace.
func TestNoOracle(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	answer := func(doc []byte) string {
		e := w.login(t, doc)
		_, err := p.Verify(t.Context(), e)
		trace, jsonErr := json.Marshal(e.Trace.Checks()[1:]) // the first tells the size of the message
		check(t, jsonErr)
		return err.Error() + string(trace)
	}
	cbc := func(r *idp.Request) { r.Mode, r.Encrypt = idp.SignAssertion, idp.AES256CBC }
	sealed := w.respond(t, cbc)
	plain := base64Of(t, sealed)
	want := ""
	for bit := 0; bit < len(plain); bit += 11 {
		changed := bytes.Clone(plain)
		changed[bit] ^= 1
		got := answer(bytes.Replace(sealed, []byte(base64.StdEncoding.EncodeToString(plain)), []byte(base64.StdEncoding.EncodeToString(changed)), 1))
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("byte %d of the ciphertext is answered\n%s\nothers are\n%s", bit, got, want)
		}
	}
	stranger := mustRespond(t, newIdP(t, idpID, w.clock), w.ask(cbc))
	unsigned := w.respond(t, cbc, func(r *idp.Request) { r.Mode = idp.SignNothing })
	for _, doc := range [][]byte{stranger, unsigned} {
		if got := answer(doc); got != want {
			t.Errorf("answered\n%s\nwant\n%s", got, want)
		}
	}
}

// base64Of returns the ciphertext of the assertion.
func base64Of(t testing.TB, doc []byte) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(string(doc), "</ds:KeyInfo>")
	_, rest, _ = strings.Cut(rest, "<xenc:CipherValue>")
	value, _, _ := strings.Cut(rest, "<")
	data, err := base64.StdEncoding.DecodeString(value)
	check(t, err)
	return data
}

func TestEncryptedWithoutKey(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t, func(s *providers.Source) { own(s).KeyFile = "" })
	_, err := w.verify(t, p, w.respond(t, func(r *idp.Request) { r.Encrypt = idp.AES256GCM }))
	failure, _ := errors.AsType[*providers.Error](err)
	if reason(t, err) != "decryption" || !strings.Contains(failure.Hint, "key_file") {
		t.Errorf("%v, hint %q; want decryption, and a word of key_file", err, failure.Hint)
	}
}

// A panicking context stands for any fault of the code below Verify.
type panicking struct{ context.Context }

func (panicking) Err() error { panic("boom") }

func TestPanicIsPermanent(t *testing.T) {
	w := newWorld(t)
	e := w.login(t, w.respond(t))
	user, err := w.provider(t).Verify(panicking{t.Context()}, e)
	if reason(t, err) != "panic" || errors.Is(err, providers.ErrUnavailable) || user.Identity != nil {
		t.Errorf("Verify: %+v, %v; want a permanent failure", user, err)
	}
	if strings.Contains(err.Error(), "boom") {
		t.Errorf("the answer tells what happened inside: %v", err)
	}
}

// panickingKeys stand for any fault of the code that reads metadata: it is not the message's, so that waits.
type panickingKeys struct{ keys }

type keys = providers.Keys

func (panickingKeys) Keys(context.Context, string, string, string) (providers.KeyHistory, error) {
	panic("boom")
}

func TestPanicWhileMetadataAreReadIsTransient(t *testing.T) {
	w := newWorld(t)
	w.env.Keys = panickingKeys{w.keys}
	_, err := w.verify(t, w.provider(t), w.respond(t))
	if !errors.Is(err, providers.ErrUnavailable) || strings.Contains(err.Error(), "boom") {
		t.Errorf("Verify: %v; want a transient failure that does not tell what happened inside", err)
	}
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	e := w.login(t, w.respond(t))
	_, err := w.provider(t, func(s *providers.Source) { own(s).EntityID = "https://other.example" }).Verify(t.Context(), e)
	failure, _ := errors.AsType[*providers.Error](err)
	if failure == nil || failure.Reason != "audience" || failure.Hint == "" || failure.Field != "saml_response" {
		t.Fatalf("%+v, want audience with a hint", failure)
	}
	var got []string
	for _, c := range e.Trace.Checks() {
		got = append(got, c.Name)
		if c.Spec == "" {
			t.Errorf("check %s names no standard", c.Name)
		}
	}
	want := "xml duplicate_id signature_placement algorithm signature status assertion_count issuer destination issued_at in_response_to " +
		"version issuer issued_at recipient not_yet_valid expired in_response_to subject_confirmation not_yet_valid expired audience"
	if last := e.Trace.Checks()[len(got)-1]; !strings.Contains(last.Detail, strconv.Quote(entityID)) {
		t.Errorf("the trace does not tell what the message said: %s", last.Detail)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("checks in the order\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
}
