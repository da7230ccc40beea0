package providers

import (
	"bytes"
	"encoding/json"
	"time"
)

// AdminSource is the name under which the commands of a tenant appear.
const AdminSource = "admin"

// DeniedRoleDrop has roles that may not be granted left out, instead of refusing the request.
const DeniedRoleDrop = "drop"

// What becomes of roles that are none of the tenant's, or that the source may not grant: the words of UnknownRoles.
const (
	UnknownRolesDrop   = "drop"
	UnknownRolesReject = "reject"
)

// A Source is a configured instance that events come from, as a provider sees it. Written as JSON it is what the store's
// sources table keeps; a field that is not set is left out. It is read with [Kinds.Source], which knows what Config is.
type Source struct {
	Tenant string `json:"-"` // lower-case UUID; the row's own column
	Name   string `json:"-"`
	Kind   Kind   `json:"-"`

	// Config is what its kind alone has, made by the Config of its [Descriptor]. It is not changed once it is here.
	Config any `json:"-"`

	Issuer string `json:"issuer,omitempty"` // whose word its logins are: the iss of its tokens, or how its identity provider names itself

	Domains     []string `json:"domains,omitempty"`       // e-mail domains that it may speak for, in canonical form
	TrustEmail  bool     `json:"trust_email,omitempty"`   // its e-mail addresses in Domains count as proved, whatever its claims say
	LinkByEmail string   `json:"link_by_email,omitempty"` // "" or "verified"

	UnverifiedEmail string `json:"unverified_email,omitempty"` // of logins: "" (refuse) or AcceptUnverified

	Mapping map[string]string `json:"mapping,omitempty"` // field to CEL expression; a field not set has its kind's default

	DefaultRoles []string      `json:"default_roles,omitempty"`  // granted at creation when the role claim is absent
	Grants       []string      `json:"grants,omitempty"`         // all that it may ever grant
	OnDeniedRole string        `json:"on_denied_role,omitempty"` // "" (reject) or DeniedRoleDrop
	UnknownRoles string        `json:"unknown_roles,omitempty"`  // UnknownRolesDrop or UnknownRolesReject; "" means drop for logins, reject for all else
	MaxEventAge  time.Duration `json:"max_event_age,omitempty"`  // zero means DefaultMaxEventAge

	ClockSkew time.Duration `json:"clock_skew,omitempty"` // of logins: how far its clock and the broker's may lie apart; zero means DefaultClockSkew

	KeyStaleness time.Duration `json:"key_staleness,omitempty"` // of kinds that hold keys: how long before an event its key may have been seen last; zero means DefaultKeyStaleness
	KeyGrace     time.Duration `json:"key_grace,omitempty"`     // the same: and how much longer while the issuer cannot be asked; zero means DefaultKeyGrace
}

// Skew is by how much the bounds of time are widened that its tokens or assertions set themselves.
func (s *Source) Skew() time.Duration { return min(or(s.ClockSkew, DefaultClockSkew), MaxClockSkew) }

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

// DropsUnknownRoles reports whether roles of an event of that shape are left out that are none of the tenant's, or that the
// source may not grant, instead of having the event refused. Every real token has groups that are no roles.
func (s *Source) DropsUnknownRoles(shape Shape) bool {
	if s.UnknownRoles == "" {
		return shape == ShapeLogin || s.OnDeniedRole == DeniedRoleDrop // which did both, before there were two settings
	}
	return s.UnknownRoles == UnknownRolesDrop
}

// MarshalJSON writes one object: the issuer, what belongs to the source's kind, and the rest.
func (s Source) MarshalJSON() ([]byte, error) {
	type fields Source // without this method
	rest := fields(s)
	rest.Issuer = ""
	var out bytes.Buffer
	out.WriteByte('{')
	for _, part := range []any{fields{Issuer: s.Issuer}, s.Config, rest} {
		if part == nil {
			continue
		}
		text, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		if text = text[1 : len(text)-1]; len(text) == 0 {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.Write(text)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// AcceptUnverified is the UnverifiedEmail of a source whose logins may create users with addresses that are not proved.
const AcceptUnverified = "accept"

// DefaultMaxEventAge bounds an event's age at first processing when its source sets nothing else.
const DefaultMaxEventAge = 7 * 24 * time.Hour
