package providers

import "time"

// Kind is the kind of a source, and so the code that verifies its events.
type Kind string

// The kinds of source.
const (
	KindOIDC    Kind = "oidc"
	KindSAML    Kind = "saml"
	KindFeed    Kind = "feed"
	KindCommand Kind = "command" // the built-in source "admin" of every tenant; never declared
)

// AdminSource is the name under which the commands of a tenant appear.
const AdminSource = "admin"

// DeniedRoleDrop has roles that may not be granted left out, instead of refusing the request.
const DeniedRoleDrop = "drop"

// A Source is a configured instance that events come from, as a provider sees it. It is the JSON kept in the store's
// sources table; a field that is not set is left out.
type Source struct {
	Tenant string `json:"-"` // lower-case UUID; the row's own column
	Name   string `json:"-"`
	Kind   Kind   `json:"-"`

	Issuer     string   `json:"issuer,omitempty"`     // OIDC: exactly the iss claim; SAML: the entityID of the IdP, as written or read by apply
	Audiences  []string `json:"audiences,omitempty"`  // OIDC: client ids; a token must be for one of them
	Algorithms []string `json:"algorithms,omitempty"` // OIDC: JWS algorithms; empty means RS256
	Commands   bool     `json:"commands,omitempty"`   // OIDC: its tokens may also carry admin commands, if one of the next two says which

	CommandAudiences []string      `json:"command_audiences,omitempty"` // OIDC: tokens for these may carry commands; no logins are taken for them
	CommandsClaim    string        `json:"commands_claim,omitempty"`    // OIDC: "name" or "name=value": the claim that a token must have to carry commands
	MaxTokenLife     time.Duration `json:"max_token_life,omitempty"`    // OIDC: the greatest exp minus iat; zero means DefaultMaxTokenLife
	SingleUse        bool          `json:"single_use,omitempty"`        // OIDC: a token is good for one event; it needs a jti

	Metadata        string `json:"metadata,omitempty"`         // SAML: the IdP's metadata document itself
	MetadataURL     string `json:"metadata_url,omitempty"`     // SAML: where it is refreshed from
	EntityID        string `json:"entity_id,omitempty"`        // SAML: our own
	ACSURL          string `json:"acs_url,omitempty"`          // SAML: our own assertion consumer service
	KeyFile         string `json:"key_file,omitempty"`         // SAML: absolute path of our private key, for encrypted assertions
	CertificateFile string `json:"certificate_file,omitempty"` // SAML: absolute path of its certificate
	IDPInitiated    bool   `json:"idp_initiated,omitempty"`    // SAML: responses to no request are welcome
	AllowSHA1       bool   `json:"allow_sha1,omitempty"`       // SAML: accept RSA-SHA1, for an IdP that cannot do better

	AllowExpiredCertificates bool `json:"allow_expired_certificates,omitempty"` // SAML: what the metadata publish counts, not the dates in certificates

	Format string `json:"format,omitempty"` // feed: user or scim

	Domains     []string `json:"domains,omitempty"`       // e-mail domains that it may speak for, in canonical form
	TrustEmail  bool     `json:"trust_email,omitempty"`   // its e-mail addresses in Domains count as proved, whatever its claims say
	LinkByEmail string   `json:"link_by_email,omitempty"` // "" or "verified"

	UnverifiedEmail string `json:"unverified_email,omitempty"` // OIDC and SAML: "" (refuse) or AcceptUnverified

	Mapping map[string]string `json:"mapping,omitempty"` // field to CEL expression; a field not set has its kind's default

	DefaultRoles []string      `json:"default_roles,omitempty"`  // granted at creation when the role claim is absent
	Grants       []string      `json:"grants,omitempty"`         // all that it may ever grant
	OnDeniedRole string        `json:"on_denied_role,omitempty"` // "" (reject) or DeniedRoleDrop
	MaxEventAge  time.Duration `json:"max_event_age,omitempty"`  // zero means DefaultMaxEventAge

	KeyStaleness time.Duration `json:"key_staleness,omitempty"` // OIDC and SAML: how long before an event its key may have been seen last; zero means DefaultKeyStaleness
	KeyGrace     time.Duration `json:"key_grace,omitempty"`     // the same: and how much longer while the issuer cannot be asked; zero means DefaultKeyGrace
}

// TokenLife is the greatest life of a token.
func (s *Source) TokenLife() time.Duration { return or(s.MaxTokenLife, DefaultMaxTokenLife) }

// Staleness is how long before an event its key may have been seen last.
func (s *Source) Staleness() time.Duration { return or(s.KeyStaleness, DefaultKeyStaleness) }

// Grace is how much longer than Staleness a key is believed while its issuer cannot be asked.
func (s *Source) Grace() time.Duration { return or(s.KeyGrace, DefaultKeyGrace) }

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Clashes reports whether two sources of one tenant could not be told apart by their issuer, under which their identities
// are kept: sources of different kinds, as a SAML identity provider chooses its own name, and two of SAML.
func (s Source) Clashes(other Source) bool {
	return s.Issuer != "" && s.Issuer == other.Issuer && (s.Kind != other.Kind || s.Kind == KindSAML)
}

// AcceptUnverified is the UnverifiedEmail of a source whose logins may create users with addresses that are not proved.
const AcceptUnverified = "accept"

// DefaultMaxTokenLife bounds a token's life, exp minus iat, when its source sets nothing else.
const DefaultMaxTokenLife = 24 * time.Hour

// DefaultMaxEventAge bounds an event's age at first processing when its source sets nothing else.
const DefaultMaxEventAge = 7 * 24 * time.Hour
