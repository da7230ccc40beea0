package saml_test

import (
	"testing"

	"github.com/idpsync/idpsync/providers/saml/idp"
)

func TestModes(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	for name, mode := range map[string]idp.Mode{"response": idp.SignResponse, "assertion": idp.SignAssertion, "both": idp.SignBoth} {
		for _, algorithm := range []string{"", idp.AES128CBC, idp.AES256CBC, idp.AES128GCM, idp.AES256GCM} {
			for _, digest := range []string{"", idp.DigestSHA256} {
				t.Run(name+" "+algorithm+" "+digest, func(t *testing.T) {
					doc := w.respond(t, func(r *idp.Request) { r.Mode, r.Encrypt, r.KeyDigest = mode, algorithm, digest })
					user, err := w.verify(t, p, doc)
					if err != nil {
						t.Fatalf("Verify: %v\n%s", err, doc)
					}
					if user.Identity.Issuer != idpID || user.Identity.Subject != "ada-1815" {
						t.Errorf("identity %+v", user.Identity)
					}
					if user.Email != "ada@acme.example" || user.Name != "Ada Lovelace" {
						t.Errorf("email %q, name %q", user.Email, user.Name)
					}
				})
			}
		}
	}
}
