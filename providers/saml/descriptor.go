package saml

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// Config is what a SAML source has beside the fields of every source. Its issuer is the entityID of the identity provider.
type Config struct {
	Metadata        string `json:"metadata,omitempty"`         // the IdP's metadata document itself
	MetadataURL     string `json:"metadata_url,omitempty"`     // where it is refreshed from
	EntityID        string `json:"entity_id,omitempty"`        // our own
	ACSURL          string `json:"acs_url,omitempty"`          // our own assertion consumer service
	KeyFile         string `json:"key_file,omitempty"`         // absolute path of our private key, for encrypted assertions
	CertificateFile string `json:"certificate_file,omitempty"` // absolute path of its certificate
	IDPInitiated    bool   `json:"idp_initiated,omitempty"`    // responses to no request are welcome
	AllowSHA1       bool   `json:"allow_sha1,omitempty"`       // accept RSA-SHA1, for an IdP that cannot do better

	AllowExpiredCertificates bool `json:"allow_expired_certificates,omitempty"` // what the metadata publish counts, not the dates in certificates
}

// configOf returns the configuration of a SAML source.
func configOf(s providers.Source) *Config {
	if c, ok := s.Config.(*Config); ok {
		return c
	}
	return &Config{}
}

const maxDeclaredFile = 1 << 20 // bytes of a file that a declaration names

// Kind describes SAML sources.
func Kind() providers.Descriptor {
	return providers.Descriptor{
		Kind: providers.KindSAML, Title: "SAML", New: New, Shapes: []providers.Shape{providers.ShapeLogin},
		Config: func() any { return &Config{} },
		Shown:  map[string]providers.Shown{"metadata": providers.ShownDigest},
		Settings: []providers.Setting{
			{Key: "issuer", Read: func(v providers.Value, s *providers.Source) { s.Issuer = entityURI(v) }},
			{Key: "metadata_file", Read: readMetadataFile},
			{Key: "metadata_url", Read: func(v providers.Value, s *providers.Source) { configOf(*s).MetadataURL = v.URL("metadata_url") }},
			{Key: "entity_id", Read: func(v providers.Value, s *providers.Source) { configOf(*s).EntityID = entityURI(v) }},
			{Key: "acs_url", Read: func(v providers.Value, s *providers.Source) { configOf(*s).ACSURL = v.URL("acs_url") }},
			{Key: "key_file", Read: func(v providers.Value, s *providers.Source) { configOf(*s).KeyFile = pemFile(v, true) }},
			{Key: "certificate_file", Read: func(v providers.Value, s *providers.Source) { configOf(*s).CertificateFile = pemFile(v, false) }},
			{Key: "idp_initiated", Read: func(v providers.Value, s *providers.Source) { configOf(*s).IDPInitiated = v.Bool() }},
			{Key: "allow_sha1", Read: readAllowSHA1},
			{Key: "allow_expired_certificates", Read: func(v providers.Value, s *providers.Source) { configOf(*s).AllowExpiredCertificates = v.Bool() }},
		},
		Check: checkDeclared, Shared: shared, Origin: origin, HoldsKeys: true,
		Pin: &providers.Pin{
			Read: EntityID, URL: metadataURL,
			Key: "metadata_file", Hint: "name the identity provider by its entityID in issuer",
		},
		Mapping: mapping.Attributes(),
	}
}

// metadataURL is where metadata are read; "" where the source holds them.
func metadataURL(s providers.Source) string {
	if c := configOf(s); c.Metadata == "" {
		return c.MetadataURL
	}
	return ""
}

func readMetadataFile(v providers.Value, s *providers.Source) {
	f, ok := v.File(8 * maxMetadata) // so that what is too large is told what to do
	if !ok {
		return
	}
	kept, err := ownMetadata(f.Data, s.Issuer)
	if err != nil {
		v.Fail("", "%s: %v", f.Name, err)
		return
	}
	configOf(*s).Metadata = string(kept)
}

// entityURI reads the name of a SAML entity (SAML 2.0 core section 8.3.6).
func entityURI(v providers.Value) string {
	id := v.Text()
	if u, err := url.Parse(id); id != "" && (err != nil || u.Scheme == "" || len(id) > 1024) {
		v.Fail("a URI of at most 1024 characters, as in https://sp.example/saml", "entity id %q is not a URI", id)
	}
	return id
}

// pemFile checks a PEM file that stays where it is, and returns its absolute path.
func pemFile(v providers.Value, private bool) string {
	f, ok := v.File(maxDeclaredFile)
	if !ok {
		return ""
	}
	if !strings.Contains(string(f.Data), "-----BEGIN ") {
		v.Fail("convert it with openssl", "%s is not a PEM file", f.Name)
	}
	if info, err := os.Stat(f.Path); private && err == nil && info.Mode().Perm()&0o077 != 0 {
		v.Warn("chmod 600 "+f.Name, "others than its owner can read the private key (mode %04o)", info.Mode().Perm())
	}
	return f.Path
}

func readAllowSHA1(v providers.Value, s *providers.Source) {
	c := configOf(*s)
	if c.AllowSHA1 = v.Bool(); c.AllowSHA1 {
		v.Warn("move the identity provider to RSA-SHA256", "SHA-1 signatures can be forged with effort")
	}
}

func checkDeclared(f providers.Form, s *providers.Source) {
	if f.Has("metadata_file") == f.Has("metadata_url") {
		f.Fail("set one of them", "source %q needs metadata_file or metadata_url", s.Name)
	}
	if !f.Has("entity_id") {
		f.Fail("what the identity provider knows us by", "source %q has no entity_id", s.Name)
	}
	if !f.Has("acs_url") {
		f.Fail("where the identity provider sends its responses", "source %q has no acs_url", s.Name)
	}
	if f.Has("key_file") != f.Has("certificate_file") {
		f.Fail("set both or neither", "source %q: key_file and certificate_file go together", s.Name)
	}
}

// shared reports whether an assertion for the one source is one for the other too.
func shared(s, other providers.Source) []providers.Shared {
	a, b := configOf(s), configOf(other)
	idp := a.Metadata != "" && a.Metadata == b.Metadata || a.MetadataURL != "" && a.MetadataURL == b.MetadataURL
	if a.EntityID != b.EntityID || a.ACSURL != b.ACSURL || !idp && s.Issuer == "" || s.Issuer != other.Issuer {
		return nil
	}
	return []providers.Shared{{
		Key: "name", What: "assertions", Hint: "give each tenant an entity_id or acs_url of its own; one login could be published to either",
	}}
}

func origin(s providers.Source) string {
	if c := configOf(s); c.MetadataURL == "" {
		return fmt.Sprintf("metadata (%d bytes)", len(c.Metadata))
	}
	return configOf(s).MetadataURL
}
