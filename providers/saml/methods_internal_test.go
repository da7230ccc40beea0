package saml

import (
	"errors"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Each algorithm of a signature counts by itself: a strong one makes up for no weak one.
func TestMethodsOfASignature(t *testing.T) {
	t.Parallel()
	const sha1, sha256, md5 = "http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#md5"
	const rsa1, rsa256, hmac = dsig.RSASHA1SignatureMethod, dsig.RSASHA256SignatureMethod, "http://www.w3.org/2000/09/xmldsig#hmac-sha1"
	exclusive, enveloped := string(dsig.CanonicalXML10ExclusiveAlgorithmId), string(dsig.EnvelopedSignatureAltorithmId)
	const xslt = "http://www.w3.org/TR/1999/REC-xslt-19991116"
	both := []string{enveloped, exclusive}
	for name, c := range map[string]struct {
		canonicalization, method, digest string
		transforms                       []string
		strong, allowed                  string // reasons of the refusal, without allow_sha1 and with it
	}{
		"strong":                       {exclusive, rsa256, sha256, both, "", ""},
		"a weak signature":             {exclusive, rsa1, sha256, both, "algorithm", ""},
		"a weak digest":                {exclusive, rsa256, sha1, both, "algorithm", ""},
		"weak both":                    {exclusive, rsa1, sha1, both, "algorithm", ""},
		"a symmetric signature":        {exclusive, hmac, sha256, both, "algorithm", "algorithm"},
		"an unknown digest":            {exclusive, rsa256, md5, both, "algorithm", "algorithm"},
		"an unknown canonicalization":  {xslt, rsa256, sha256, both, "algorithm", "algorithm"},
		"not enveloped":                {exclusive, rsa256, sha256, []string{exclusive}, "transform", "transform"},
		"enveloped twice":              {exclusive, rsa256, sha256, []string{enveloped, enveloped}, "transform", "transform"},
		"a transform in another order": {exclusive, rsa256, sha256, []string{exclusive, enveloped}, "transform", "transform"},
		"a transform more":             {exclusive, rsa256, sha256, []string{enveloped, exclusive, xslt}, "transform", "transform"},
		"a transform that computes":    {exclusive, rsa256, sha256, []string{enveloped, xslt}, "transform", "transform"},
	} {
		element := func(tag, algorithm string) *etree.Element {
			el := etree.NewElement("ds:" + tag)
			el.CreateAttr("xmlns:ds", nsSignature)
			el.CreateAttr("Algorithm", algorithm)
			return el
		}
		transforms := etree.NewElement("ds:Transforms")
		for _, a := range c.transforms {
			transforms.AddChild(element("Transform", a))
		}
		info := []*etree.Element{element("CanonicalizationMethod", c.canonicalization), element("SignatureMethod", c.method)}
		ref := []*etree.Element{transforms, element("DigestMethod", c.digest)}
		for allow, want := range map[bool]string{false: c.strong, true: c.allowed} {
			got := ""
			if failure, ok := errors.AsType[*refusal](checkMethods(c.method, info, ref, allow)); ok {
				got = failure.check.name
			}
			if got != want {
				t.Errorf("%s, allow_sha1 %v: refused for %q, want %q", name, allow, got, want)
			}
		}
	}
}
