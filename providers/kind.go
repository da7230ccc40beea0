package providers

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
)

// Kind is the name of a kind of source, as the declaration writes it and the store keeps it.
type Kind string

// The kinds of source that rules on users speak of.
const (
	KindOIDC    Kind = "oidc"
	KindSAML    Kind = "saml"
	KindFeed    Kind = "feed"
	KindCommand Kind = "command" // the built-in source "admin" of every tenant; never declared
)

// A Descriptor is a kind of source: all that the rest of idpsync has to know of it. Its package exports it, and a
// deployment lists those that it has; nothing else asks which kind a source is of to learn what it can do.
//
// Functions that are nil, and lists that are empty, mean that the kind has nothing of that sort. All functions are pure
// but for those that say otherwise.
type Descriptor struct {
	Kind  Kind
	Title string // as people write it in a sentence: a SAML source
	New   Factory

	// Shapes are the events that its sources may send. A kind whose shape is ShapeLogin proves who a person is, by an
	// issuer; of another kind the sender proves itself by a credential.
	Shapes []Shape
	// BuiltIn is the name of the one source of this kind that every tenant has. Such a kind is never declared.
	BuiltIn string

	// Config makes the configuration that sources of this kind have of their own, with its defaults: a pointer to a
	// struct with JSON names that no field of Source has. It is kept beside those of Source, in one JSON object.
	Config func() any
	// Shown says which values of Config are shown to people in another way than as they are, by their JSON names.
	Shown map[string]Shown
	// Settings are the keys of a declared source that belong to this kind.
	Settings []Setting
	// Check reports what a declared source lacks, and what makes sense only together, when all of its settings were read.
	Check func(Form, *Source)
	// Warn tells what of a declared source works and should not stay.
	Warn func(Form, Source)
	// Apart reports which declared sources of one tenant cannot be told apart by what they send. They are all of this kind.
	Apart func([]Source) []Conflict
	// Shared tells what two sources of different tenants both take as theirs.
	Shared func(s, other Source) []Shared
	// Origin says in a few words, for a list, where the events of a source come from.
	Origin func(Source) string

	// HoldsKeys says that the providers keep a history of their issuer's keys; see KeyHolder.
	HoldsKeys bool
	// Pin is set for a kind whose identity providers name themselves. Its sources work only once they are pinned to the
	// name, and of one issuer a tenant has one such source.
	Pin *Pin
	// Commands reports whether tokens of the source may carry commands; see TokenVerifier.
	Commands func(Source) bool

	// Mapping is what the expressions of its sources speak of; nil: they have no mapping.
	Mapping *Vocabulary
	// Mapped reports whether a source has a mapping; nil: each has. Check reports a mapping of one that has none.
	Mapped func(Source) bool
}

// A Pin is how the issuer of a source becomes known that does not write it.
type Pin struct {
	// Read returns how the identity provider calls itself. It is the one function of a descriptor that may ask it.
	Read func(ctx context.Context, s Source, client *http.Client) (issuer string, err error)
	// URL is where it is asked; "" when the source itself holds what is to be read.
	URL func(Source) string
	// Key and Hint are where the declaration is at fault, and what to do, when what the source holds cannot be read.
	Key, Hint string
}

// Shown is a way in which a value of a configuration is shown to people.
type Shown int

// The ways to show a value.
const (
	ShownDuration Shown = iota + 1 // nanoseconds, as in 90m
	ShownDigest                    // a long text, by its size and digest
)

// A Conflict is why one of several sources must not be declared beside another.
type Conflict struct {
	Source        int // its index among them
	Message, Hint string
}

// Shared is what sources of two tenants both take: one login could be published to either.
type Shared struct {
	Key  string // of the declaration
	What string // as in: the same assertions
	Hint string
}

// A Vocabulary is what the expressions of a mapping speak of: a sort of document. Package mapping has those of claims,
// attributes and SCIM resources.
type Vocabulary struct {
	Variables []Variable
	Hint      string            // which variables there are, for who writes another one
	Defaults  map[string]string // field to expression
	// Vouches says that the documents may say that an address was verified, so that email_verified can be mapped. They are
	// then read under the variable claims.
	Vouches bool
	// Subject says why the subject cannot be mapped; "": it can.
	Subject string
}

// A Variable is one variable of a mapping.
type Variable struct {
	Name string
	Type VariableType
}

// VariableType is what values of a variable are.
type VariableType int

// The types of variables.
const (
	VariableObject VariableType = iota // map[string]any
	VariableLists                      // map[string][]string
	VariableText                       // string
)

// Login reports whether sources of the kind send logins.
func (d *Descriptor) Login() bool { return d.Carries(ShapeLogin) }

// Carries reports whether a source of the kind may send events of the shape.
func (d *Descriptor) Carries(s Shape) bool { return slices.Contains(d.Shapes, s) }

// Maps reports whether the source has a mapping.
func (d *Descriptor) Maps(s Source) bool { return d.Mapping != nil && (d.Mapped == nil || d.Mapped(s)) }

// TakesCommands reports whether tokens of the source may carry commands.
func (d *Descriptor) TakesCommands(s Source) bool { return d.Commands != nil && d.Commands(s) }

// Setting returns the setting of that key, or nil.
func (d *Descriptor) Setting(key string) *Setting {
	i := slices.IndexFunc(d.Settings, func(s Setting) bool { return s.Key == key })
	if i < 0 {
		return nil
	}
	return &d.Settings[i]
}

// Kinds are the kinds of source that a deployment has, in the order in which they are shown.
type Kinds []Descriptor

// Of returns a kind by its name. One that is not known can do nothing.
func (k Kinds) Of(kind Kind) (*Descriptor, bool) {
	i := slices.IndexFunc(k, func(d Descriptor) bool { return d.Kind == kind })
	if i < 0 {
		return &Descriptor{Kind: kind}, false
	}
	return &k[i], true
}

// Declared returns the kinds of which sources can be declared.
func (k Kinds) Declared() Kinds {
	return slices.DeleteFunc(slices.Clone(k), func(d Descriptor) bool { return d.BuiltIn != "" })
}

// Carrying returns the kinds whose sources may send events of the shape.
func (k Kinds) Carrying(s Shape) Kinds {
	return slices.DeleteFunc(slices.Clone(k), func(d Descriptor) bool { return !d.Carries(s) })
}

// Names returns the names of the kinds.
func (k Kinds) Names() []string {
	names := make([]string, len(k))
	for i := range k {
		names[i] = string(k[i].Kind)
	}
	return names
}

// Source reads a source from the JSON that the store keeps. What it returns with an error is named, so that the error
// can be kept with it. A source of an unknown kind has no configuration of its own.
func (k Kinds) Source(tenant, name string, kind Kind, config []byte) (Source, error) {
	var s Source
	d, _ := k.Of(kind)
	err := s.read(d, config)
	s.Tenant, s.Name, s.Kind = tenant, name, kind
	return s, err
}

// Clash reports whether two sources of one tenant could not be told apart by their issuer, under which their identities
// are kept: sources of different kinds, as an identity provider that names itself may choose any name, and two of such a
// kind.
func (k Kinds) Clash(a, b Source) bool {
	d, _ := k.Of(a.Kind)
	return a.Issuer != "" && a.Issuer == b.Issuer && (a.Kind != b.Kind || d.Pin != nil)
}

// Pinned reports whether sources of the kind work only once they are pinned to the name of their identity provider.
func (k Kinds) Pinned(kind Kind) bool {
	d, _ := k.Of(kind)
	return d.Pin != nil
}

// read reads the fields of Source and those of its kind from one JSON object.
func (s *Source) read(d *Descriptor, config []byte) error {
	if d.Config != nil {
		s.Config = d.Config()
	}
	if len(config) == 0 {
		return nil
	}
	if err := json.Unmarshal(config, s); err != nil {
		return err
	}
	if s.Config == nil {
		return nil
	}
	return json.Unmarshal(config, s.Config)
}
