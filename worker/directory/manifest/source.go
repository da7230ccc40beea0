package manifest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A commonKey is a key that sources of several kinds have, as it is about users rather than about how they are proved.
type commonKey struct {
	name string
	of   func(*providers.Descriptor) bool
	read func(*reader, strictyaml.Value, *providers.Source)
}

// commonKeys lists what a source may hold beside name, kind, mapping, roles and the settings of its kind.
func commonKeys() []commonKey {
	every := func(*providers.Descriptor) bool { return true }
	login := (*providers.Descriptor).Login
	keys := func(d *providers.Descriptor) bool { return d.HoldsKeys }
	return []commonKey{
		{"trust_email", every, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.TrustEmail = v.Bool() }},
		{"domains", every, (*reader).domains},
		{"link_by_email", login, (*reader).linkByEmail},
		{"unverified_email", login, (*reader).unverifiedEmail},
		{"on_denied_role", every, (*reader).onDeniedRole},
		{"unknown_roles", every, func(_ *reader, v strictyaml.Value, s *providers.Source) {
			s.UnknownRoles = word(v, "unknown_roles", providers.UnknownRolesDrop, providers.UnknownRolesReject)
		}},
		{"clock_skew", login, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.ClockSkew = clockSkew(v) }},
		{"key_staleness", keys, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.KeyStaleness = keyTime(v, time.Minute) }},
		{"key_grace", keys, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.KeyGrace = keyTime(v, time.Second) }},
		{"max_event_age", every, func(_ *reader, v strictyaml.Value, s *providers.Source) { s.MaxEventAge = v.Duration() }},
	}
}

// settingKeys returns the keys of the settings of all kinds, each once.
func (r *reader) settingKeys() []string {
	var keys []string
	for i := range r.kinds {
		for _, s := range r.kinds[i].Settings {
			if !slices.Contains(keys, s.Key) {
				keys = append(keys, s.Key)
			}
		}
	}
	return keys
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
	r.apart(all)
}

func (r *reader) source(m *strictyaml.Mapping, tenant string, roles tenantRoles) providers.Source {
	s := providers.Source{Tenant: tenant, Name: sourceName(m.Get("name")), Kind: r.sourceKind(m)}
	kind, _ := r.kinds.Of(s.Kind)
	if kind.Config != nil {
		s.Config = kind.Config()
	}
	for _, key := range r.settingKeys() {
		if v := m.Get(key); v.Present() && r.belongs(m, key, s.Kind, func(d *providers.Descriptor) bool { return d.Setting(key) != nil }) {
			r.setting(v, key, &s)
		}
	}
	for _, key := range commonKeys() {
		if v := m.Get(key.name); v.Present() && r.belongs(m, key.name, s.Kind, key.of) {
			key.read(r, v, &s)
		}
	}
	grants, places := texts(m.Get("grants"))
	for i, role := range grants {
		if all := roles.all(); !slices.Contains(all, role) {
			places[i].Fail(rolesHint(role, all), "the tenant has no role %q", role)
		}
	}
	s.Grants = grants
	s.DefaultRoles = defaultRoles(m.Get("default_roles"), roles[store.ScopeTenant], &grants)
	if kind.Check != nil {
		kind.Check(form{m, r}, &s)
	}
	required(m, &s)
	r.mapping(m, kind, &s)
	return s
}

// belongs reports a key that sources of this kind do not have. Where the kind is not known, each key may belong.
func (r *reader) belongs(m *strictyaml.Mapping, key string, kind providers.Kind, of func(*providers.Descriptor) bool) bool {
	var having []string
	for i := range r.kinds {
		if d := &r.kinds[i]; of(d) {
			if kind == d.Kind || kind == "" {
				return true
			}
			having = append(having, string(d.Kind))
		}
	}
	m.Key(key).Fail("it is for "+list(having, " and "), "%s does not belong to a source of kind %s", key, kind)
	return false
}

// setting reads a setting into the source. Where its kind is not known, the first that has the key says how it is read, so
// that its faults are reported too.
func (r *reader) setting(v strictyaml.Value, key string, s *providers.Source) {
	for i := range r.kinds {
		d := &r.kinds[i]
		setting := d.Setting(key)
		if setting == nil || s.Kind != "" && s.Kind != d.Kind {
			continue
		}
		if s.Kind == "" {
			s = &providers.Source{}
			if d.Config != nil {
				s.Config = d.Config()
			}
		}
		setting.Read(value{v, r}, s)
		return
	}
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

func (r *reader) sourceKind(m *strictyaml.Mapping) providers.Kind {
	names := r.kinds.Names()
	v := m.Require("kind", "one of "+strings.Join(names, ", "))
	kind := providers.Kind(v.Text())
	if kind == "" && !v.IsText() {
		return ""
	}
	if !slices.Contains(names, string(kind)) {
		v.Fail(strictyaml.DidYouMean(string(kind), names), "there are no sources of kind %q", kind)
		return ""
	}
	return kind
}

// required reports what makes sense only together in a source of any kind.
func required(m *strictyaml.Mapping, s *providers.Source) {
	if s.TrustEmail && len(s.Domains) == 0 {
		m.Key("trust_email").Fail("list the domains whose addresses it vouches for", "source %q: trust_email needs domains", s.Name)
	}
	if s.LinkByEmail != "" && len(s.Domains) == 0 {
		m.Key("link_by_email").Fail("list the domains that it may speak for", "source %q: link_by_email needs domains", s.Name)
	}
}

// apart refuses sources of a tenant that one event would satisfy, or whose identities could not be told apart.
func (r *reader) apart(all []declaredSource) {
	for i, s := range all {
		for _, other := range all[:i] {
			if r.kinds.Clash(s.Source, other.Source) {
				s.at.Fail("an identity must belong to one source; make them one, or have one of the identity providers use another name",
					"sources %q and %q have the same issuer %s", other.Name, s.Name, s.Issuer)
			}
		}
	}
	for i := range r.kinds {
		d := &r.kinds[i]
		if d.Apart == nil {
			continue
		}
		var same []providers.Source
		var at []strictyaml.Value
		for _, s := range all {
			if s.Kind == d.Kind {
				same, at = append(same, s.Source), append(at, s.at)
			}
		}
		for _, c := range d.Apart(same) {
			at[c.Source].Fail(c.Hint, "%s", c.Message)
		}
	}
}

// pin pins a source to the name of its identity provider, where that names itself.
func (r *reader) pin(m *strictyaml.Mapping, s *providers.Source) {
	kind, _ := r.kinds.Of(s.Kind)
	switch {
	case kind.Pin == nil:
		return
	case s.Issuer != "":
		r.written[sourceKeyOf{s.Tenant, s.Name}] = true
		return
	case r.options.ReadIssuer == nil:
		return
	}
	id, err := r.options.ReadIssuer(*s)
	switch {
	case err == nil:
		s.Issuer = id
	case kind.Pin.URL(*s) != "":
		r.unread = append(r.unread, unreadSource{s.Tenant, s.Name, err})
	default:
		m.Key(kind.Pin.Key).Fail(kind.Pin.Hint, "source %q: %v", s.Name, err)
	}
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

// clockSkew reads how far clocks may lie apart. Whoever gets hold of a token has that much more time to use it.
func clockSkew(v strictyaml.Value) time.Duration {
	d := v.Duration()
	if d > providers.MaxClockSkew {
		v.Fail("correct the clock of the issuer; the default is 2m", "clock_skew cannot be longer than %v", providers.MaxClockSkew)
	}
	return d
}

func list(items []string, and string) string {
	s := ""
	for i, item := range items {
		switch {
		case i == 0:
		case i == len(items)-1:
			s += and
		default:
			s += ", "
		}
		s += item
	}
	return s
}
