package manifest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A key of a source and the kinds that have it.
type sourceKey struct {
	name  string
	kinds []providers.Kind
	read  func(*reader, strictyaml.Value, *providers.Source)
}

var everyKind = []providers.Kind{providers.KindOIDC, providers.KindSAML, providers.KindFeed}

// sourceKeys lists what a source may hold beside name, kind, mapping and roles.
func sourceKeys() []sourceKey {
	oidc, saml, feed := providers.KindOIDC, providers.KindSAML, providers.KindFeed
	return []sourceKey{
		{"issuer", []providers.Kind{oidc, saml}, (*reader).issuer},
		{"audiences", []providers.Kind{oidc}, (*reader).audiences},
		{"algorithms", []providers.Kind{oidc}, (*reader).algorithms},
		{"commands", []providers.Kind{oidc}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.Commands = v.Bool() }},
		{"command_audiences", []providers.Kind{oidc}, (*reader).commandAudiences},
		{"commands_claim", []providers.Kind{oidc}, (*reader).commandsClaim},
		{"max_token_life", []providers.Kind{oidc}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.MaxTokenLife = v.Duration() }},
		{"single_use", []providers.Kind{oidc}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.SingleUse = v.Bool() }},

		{"metadata_file", []providers.Kind{saml}, (*reader).metadataFile},
		{"metadata_url", []providers.Kind{saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.MetadataURL = webURL(v, "metadata_url") }},
		{"entity_id", []providers.Kind{saml}, (*reader).entityID},
		{"acs_url", []providers.Kind{saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.ACSURL = webURL(v, "acs_url") }},
		{"key_file", []providers.Kind{saml}, func(r *reader, v strictyaml.Value, s *providers.Source) { s.KeyFile = r.keyFile(v, true) }},
		{"certificate_file", []providers.Kind{saml}, func(r *reader, v strictyaml.Value, s *providers.Source) { s.CertificateFile = r.keyFile(v, false) }},
		{"idp_initiated", []providers.Kind{saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.IDPInitiated = v.Bool() }},
		{"allow_sha1", []providers.Kind{saml}, (*reader).allowSHA1},
		{"allow_expired_certificates", []providers.Kind{saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.AllowExpiredCertificates = v.Bool() }},

		{"format", []providers.Kind{feed}, (*reader).format},
		{"trust_email", everyKind, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.TrustEmail = v.Bool() }},
		{"domains", everyKind, (*reader).domains},
		{"link_by_email", []providers.Kind{oidc, saml}, (*reader).linkByEmail},
		{"unverified_email", []providers.Kind{oidc, saml}, (*reader).unverifiedEmail},
		{"on_denied_role", everyKind, (*reader).onDeniedRole},
		{"key_staleness", []providers.Kind{oidc, saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.KeyStaleness = keyTime(v, time.Minute) }},
		{"key_grace", []providers.Kind{oidc, saml}, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.KeyGrace = keyTime(v, time.Second) }},
		{"max_event_age", everyKind, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.MaxEventAge = v.Duration() }},
	}
}

// A declaredSource is a source with the places that rules about several values report.
type declaredSource struct {
	providers.Source
	at strictyaml.Value
}

func (r *reader) sources(v strictyaml.Value, tenant string, roles tenantRoles) {
	names := unique{}
	var all []declaredSource
	for _, item := range v.List() {
		m := item.Mapping()
		before := r.doc.Count()
		s := r.source(m, tenant, roles)
		if r.doc.Count() == before {
			r.pin(m, &s)
		}
		if nameValue := m.Get("name"); names.add(nameValue, "source", s.Name) {
			all = append(all, declaredSource{s, nameValue})
		}
		m.Close()
		if r.doc.Count() == before && r.options.CheckSource != nil {
			warnings, err := r.options.CheckSource(s)
			if err != nil {
				m.Get("name").Fail("", "source %q cannot work: %v", s.Name, err)
			}
			for _, w := range warnings {
				r.warn(m.Get("name"), "", "source %q: %s", s.Name, w)
			}
		}
		r.read = append(r.read, s)
		config, err := json.Marshal(s)
		if err != nil {
			m.Fail("", "source %q: %v", s.Name, err)
		}
		r.out.Sources = append(r.out.Sources, store.Source{TenantID: tenant, Name: s.Name, Kind: string(s.Kind), Config: config})
	}
	sameTokens(all)
	commandAudiencesApart(all)
}

func (r *reader) source(m *strictyaml.Mapping, tenant string, roles tenantRoles) providers.Source {
	s := providers.Source{Tenant: tenant, Name: sourceName(m.Get("name")), Kind: sourceKind(m)}
	for _, key := range sourceKeys() {
		v := m.Get(key.name)
		if !v.Present() {
			continue
		}
		if s.Kind != "" && !slices.Contains(key.kinds, s.Kind) {
			m.Key(key.name).Fail("it is for "+list(key.kinds, " and "), "%s does not belong to a source of kind %s", key.name, s.Kind)
			continue
		}
		key.read(r, v, &s)
	}
	grants, places := texts(m.Get("grants"))
	for i, role := range grants {
		if all := roles.all(); !slices.Contains(all, role) {
			places[i].Fail(rolesHint(role, all), "the tenant has no role %q", role)
		}
	}
	s.Grants = grants
	s.DefaultRoles = defaultRoles(m.Get("default_roles"), roles[store.ScopeTenant], &grants)
	required(m, &s)
	r.mapping(m, &s)
	return s
}

var sourceNames = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func sourceName(v strictyaml.Value) string {
	s := v.Text()
	switch {
	case !v.Present():
		v.Fail("it is part of subjects: idpsync.login.<tenant>.<source>", "the source has no name")
	case s == "" && !v.IsText():
	case !sourceNames.MatchString(s):
		v.Fail("1 to 63 of a-z, 0-9 and -", "%q cannot be the name of a source", s)
	case s == providers.AdminSource:
		v.Fail("choose another", "the name %q is taken: it stands for commands", s)
	default:
		return s
	}
	return ""
}

func sourceKind(m *strictyaml.Mapping) providers.Kind {
	v := m.Require("kind", "one of oidc, saml, feed")
	kind := providers.Kind(v.Text())
	if kind == "" && !v.IsText() {
		return ""
	}
	if !slices.Contains(everyKind, kind) {
		v.Fail(strictyaml.DidYouMean(string(kind), []string{"oidc", "saml", "feed"}), "there are no sources of kind %q", kind)
		return ""
	}
	return kind
}

// required reports what a source of its kind cannot do without, and what makes sense only together.
func required(m *strictyaml.Mapping, s *providers.Source) {
	missing := func(key, hint string) {
		if !m.Has(key) {
			m.Fail(hint, "source %q has no %s", s.Name, key)
		}
	}
	switch s.Kind {
	case providers.KindOIDC:
		missing("issuer", "exactly the iss claim of its tokens")
		if len(s.CommandAudiences) == 0 {
			missing("audiences", "the client ids that its tokens are made for")
		}
		commandTokens(m, s)
	case providers.KindSAML:
		if m.Has("metadata_file") == m.Has("metadata_url") {
			m.Fail("set one of them", "source %q needs metadata_file or metadata_url", s.Name)
		}
		missing("entity_id", "what the identity provider knows us by")
		missing("acs_url", "where the identity provider sends its responses")
		if m.Has("key_file") != m.Has("certificate_file") {
			m.Fail("set both or neither", "source %q: key_file and certificate_file go together", s.Name)
		}
	case providers.KindFeed:
		if s.Format == "" {
			s.Format = "user"
		}
	}
	if s.TrustEmail && len(s.Domains) == 0 {
		m.Key("trust_email").Fail("list the domains whose addresses it vouches for", "source %q: trust_email needs domains", s.Name)
	}
	if s.LinkByEmail != "" && len(s.Domains) == 0 {
		m.Key("link_by_email").Fail("list the domains that it may speak for", "source %q: link_by_email needs domains", s.Name)
	}
}

// sameTokens refuses two sources of a tenant that one token would satisfy, or whose identities could not be told apart.
func sameTokens(all []declaredSource) {
	for i, s := range all {
		for _, other := range all[:i] {
			if s.Clashes(other.Source) {
				s.at.Fail("an identity must belong to one source; make them one, or have one of the identity providers use another name",
					"sources %q and %q have the same issuer %s", other.Name, s.Name, s.Issuer)
			}
			if s.Kind != providers.KindOIDC || other.Kind != s.Kind || s.Issuer == "" || s.Issuer != other.Issuer {
				continue
			}
			for _, audience := range slices.Concat(s.Audiences, s.CommandAudiences) {
				if slices.Contains(other.Audiences, audience) || slices.Contains(other.CommandAudiences, audience) {
					s.at.Fail("a token must belong to one source; make them one, or use client ids of their own",
						"sources %q and %q have the same issuer and audience %q", other.Name, s.Name, audience)
				}
			}
		}
	}
}

// sameAssertions reports whether an assertion for the one SAML source is one for the other too.
func sameAssertions(a, b providers.Source) bool {
	idp := a.Metadata != "" && a.Metadata == b.Metadata || a.MetadataURL != "" && a.MetadataURL == b.MetadataURL
	return a.Kind == providers.KindSAML && b.Kind == a.Kind && a.EntityID == b.EntityID && a.ACSURL == b.ACSURL && (idp || a.Issuer != "") && a.Issuer == b.Issuer
}

// pin pins a SAML source to the name of its identity provider.
func (r *reader) pin(m *strictyaml.Mapping, s *providers.Source) {
	if s.Kind == providers.KindSAML && s.Issuer != "" {
		r.written[sourceKeyOf{s.Tenant, s.Name}] = true
	}
	if s.Kind != providers.KindSAML || s.Issuer != "" || r.options.EntityID == nil {
		return
	}
	id, err := r.options.EntityID(*s)
	switch {
	case err == nil:
		s.Issuer = id
	case s.MetadataURL != "":
		r.unread = append(r.unread, unreadSource{s.Tenant, s.Name, err})
	default:
		m.Key("metadata_file").Fail("name the identity provider by its entityID in issuer", "source %q: %v", s.Name, err)
	}
}

// issuer is the iss claim of an OIDC source's tokens. For a SAML source it is the entityID of its IdP; it is needed where
// the metadata describe several, and read from them otherwise.
func (r *reader) issuer(v strictyaml.Value, s *providers.Source) {
	if s.Kind == providers.KindSAML {
		s.Issuer = entityURI(v)
		return
	}
	s.Issuer = webURL(v, "issuer")
	if strings.ContainsAny(s.Issuer, "?#") {
		v.Fail("exactly the iss claim of its tokens", "an issuer has neither query nor fragment")
	}
}

func (r *reader) audiences(v strictyaml.Value, s *providers.Source) {
	s.Audiences, _ = texts(v)
	if v.IsEmptyList() {
		v.Fail("name the client ids that its tokens are made for", "audiences is empty")
	}
}

// commandTokens refuses a source whose tokens for commands nothing tells from those of logins: whoever can log in would be
// an administrator.
func commandTokens(m *strictyaml.Mapping, s *providers.Source) {
	marked := len(s.CommandAudiences) > 0 || s.CommandsClaim != ""
	switch {
	case s.Commands && !marked:
		m.Key("commands").Fail("set command_audiences, which no login has, or commands_claim, which its issuer sets for administrators alone",
			"source %q: nothing tells tokens that carry commands from those of logins", s.Name)
	case !s.Commands && marked:
		m.Fail("add commands: true, or take them out", "source %q: command_audiences and commands_claim are for a source with commands: true", s.Name)
	}
}

// commandAudiencesApart refuses audiences of commands that logins of the tenant have too.
func commandAudiencesApart(all []declaredSource) {
	for _, s := range all {
		for _, other := range all {
			for _, audience := range s.CommandAudiences {
				if slices.Contains(other.Audiences, audience) {
					s.at.Fail("let administrators' tools use a client id or resource of their own",
						"source %q takes commands for the audience %q, which logins of source %q have", s.Name, audience, other.Name)
				}
			}
		}
	}
}

func (r *reader) commandAudiences(v strictyaml.Value, s *providers.Source) {
	s.CommandAudiences, _ = texts(v)
	if v.IsEmptyList() {
		v.Fail("name the audiences of tokens that may carry commands", "command_audiences is empty")
	}
}

// commandsClaim is the name of a claim that must be true, or "name=value" for one that must be, or hold, that text.
func (r *reader) commandsClaim(v strictyaml.Value, s *providers.Source) {
	s.CommandsClaim = v.Text()
	if name, value, valued := strings.Cut(s.CommandsClaim, "="); v.IsText() && (name == "" || valued && value == "") {
		v.Fail("as in idpsync_commands, or groups=idpsync-admins", "commands_claim names no claim")
	}
}

// algorithms are those JWS algorithms that prove who signed: asymmetric ones.
func algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (r *reader) algorithms(v strictyaml.Value, s *providers.Source) {
	names, places := texts(v)
	for i, alg := range names {
		switch {
		case slices.Contains(algorithms(), alg):
			s.Algorithms = append(s.Algorithms, alg)
		case strings.EqualFold(alg, "none"):
			places[i].Fail("remove it", "algorithm none proves nothing")
		case strings.HasPrefix(strings.ToUpper(alg), "HS"):
			places[i].Fail("use the issuer's RS256 or ES256", "algorithm %s shares its key with whoever checks it", alg)
		default:
			places[i].Fail(strictyaml.DidYouMean(alg, algorithms()), "unknown algorithm %q", alg)
		}
	}
	if v.IsEmptyList() {
		v.Fail("leave it out for RS256", "algorithms is empty")
	}
}

func (r *reader) metadataFile(v strictyaml.Value, s *providers.Source) {
	if v.Text() == "" {
		return
	}
	s.Metadata = string(r.contents(v, 1<<20))
}

func (r *reader) entityID(v strictyaml.Value, s *providers.Source) { s.EntityID = entityURI(v) }

// entityURI reads the name of a SAML entity (SAML 2.0 core section 8.3.6).
func entityURI(v strictyaml.Value) string {
	id := v.Text()
	if u, err := url.Parse(id); id != "" && (err != nil || u.Scheme == "" || len(id) > 1024) {
		v.Fail("a URI of at most 1024 characters, as in https://sp.example/saml", "entity id %q is not a URI", id)
	}
	return id
}

// keyFile checks a PEM file that stays where it is, and returns its absolute path.
func (r *reader) keyFile(v strictyaml.Value, private bool) string {
	if v.Text() == "" {
		return ""
	}
	data := r.contents(v, 1<<20)
	if data == nil {
		return ""
	}
	file := r.path(v.Text())
	if !strings.Contains(string(data), "-----BEGIN ") {
		v.Fail("convert it with openssl", "%s is not a PEM file", r.beside(v.Text()))
	}
	if info, err := os.Stat(file); private && err == nil && info.Mode().Perm()&0o077 != 0 {
		r.warn(v, "chmod 600 "+r.beside(v.Text()), "others than its owner can read the private key (mode %04o)", info.Mode().Perm())
	}
	return file
}

func (r *reader) allowSHA1(v strictyaml.Value, s *providers.Source) {
	if s.AllowSHA1 = v.Bool(); s.AllowSHA1 {
		r.warn(v, "move the identity provider to RSA-SHA256", "SHA-1 signatures can be forged with effort")
	}
}

func (r *reader) format(v strictyaml.Value, s *providers.Source) {
	s.Format = word(v, "format", "user", "scim")
}

func (r *reader) linkByEmail(v strictyaml.Value, s *providers.Source) {
	s.LinkByEmail = word(v, "link_by_email", "verified")
}

func (r *reader) unverifiedEmail(v strictyaml.Value, s *providers.Source) {
	if w := word(v, "unverified_email", "refuse", providers.AcceptUnverified); w != "refuse" {
		s.UnverifiedEmail = w
	}
}

func (r *reader) onDeniedRole(v strictyaml.Value, s *providers.Source) {
	if w := word(v, "on_denied_role", "reject", "drop"); w != "reject" {
		s.OnDeniedRole = w
	}
}

func (r *reader) domains(v strictyaml.Value, s *providers.Source) {
	seen := map[string]bool{}
	names, places := texts(v)
	for i, name := range names {
		domain, err := rules.CanonicalDomain(name)
		switch {
		case err != nil:
			places[i].Fail("as in acme.example; subdomains are listed on their own", "%q %s", name, strings.Replace(err.Error(), "has a domain", "is a domain", 1))
		case seen[domain]:
			places[i].Fail("remove it", "%q is listed twice", name)
		default:
			seen[domain] = true
			s.Domains = append(s.Domains, domain)
		}
	}
}

// keyTime reads how long keys are believed; too short a time would have each login wait for its issuer.
func keyTime(v strictyaml.Value, least time.Duration) time.Duration {
	d := v.Duration()
	if d > 0 && d < least {
		v.Fail("as in 10m", "it cannot be shorter than %v", least)
	}
	return d
}

// word reads one of a few words.
func word(v strictyaml.Value, what string, words ...string) string {
	s := v.Text()
	if s == "" && !v.IsText() || slices.Contains(words, s) {
		return s
	}
	v.Fail(strictyaml.DidYouMean(s, words), "%s cannot be %q", what, s)
	return ""
}

// webURL reads an https URL, or an http one on loopback.
func webURL(v strictyaml.Value, what string) string {
	s := v.Text()
	if s == "" && !v.IsText() {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		v.Fail("as in https://acme.example/path", "%s is not a URL: %q", what, s)
	case u.User != nil:
		v.Fail("remove it; secrets are files", "%s holds a user name or password", what)
		return ""
	case u.Scheme == "http" && !loopback(u.Hostname()):
		v.Fail("use https; http is for loopback only", "%s is not https: %s", what, s)
	case u.Scheme != "http" && u.Scheme != "https":
		v.Fail("use https", "%s is not https: %s", what, s)
	default:
		return s
	}
	return ""
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func list[T ~string](items []T, and string) string {
	s := ""
	for i, item := range items {
		switch {
		case i == 0:
		case i == len(items)-1:
			s += and
		default:
			s += ", "
		}
		s += fmt.Sprint(item)
	}
	return s
}
