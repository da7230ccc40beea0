package oidc

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// DefaultMaxTokenLife bounds a token's life, exp minus iat, when its source sets nothing else.
const DefaultMaxTokenLife = 24 * time.Hour

// Config is what an OIDC source has beside the fields of every source.
type Config struct {
	Audiences  []string `json:"audiences,omitempty"`  // client ids; a token must be for one of them
	Algorithms []string `json:"algorithms,omitempty"` // JWS algorithms; empty means RS256
	Commands   bool     `json:"commands,omitempty"`   // its tokens may also carry admin commands, if one of the next two says which

	CommandAudiences []string      `json:"command_audiences,omitempty"` // tokens for these may carry commands; no logins are taken for them
	CommandsClaim    string        `json:"commands_claim,omitempty"`    // "name" or "name=value": the claim that a token must have to carry commands
	MaxTokenLife     time.Duration `json:"max_token_life,omitempty"`    // the greatest exp minus iat; zero means DefaultMaxTokenLife
	SingleUse        bool          `json:"single_use,omitempty"`        // a token is good for one event; it needs a jti

	DiscoveryURL string `json:"discovery_url,omitempty"` // of a discovery document that is elsewhere than the issuer says; it must name the issuer
	JWKSURL      string `json:"jwks_url,omitempty"`      // of the key set, in place of a discovery document
}

// tokenLife is the greatest life of a token.
func (c *Config) tokenLife() time.Duration {
	if c.MaxTokenLife > 0 {
		return c.MaxTokenLife
	}
	return DefaultMaxTokenLife
}

// configOf returns the configuration of an OIDC source.
func configOf(s providers.Source) *Config {
	if c, ok := s.Config.(*Config); ok {
		return c
	}
	return &Config{}
}

// Kind describes OIDC sources.
func Kind() providers.Descriptor {
	return providers.Descriptor{
		Kind: providers.KindOIDC, Title: "OIDC", New: New, Shapes: []providers.Shape{providers.ShapeLogin},
		Config: func() any { return &Config{} },
		Shown:  map[string]providers.Shown{"max_token_life": providers.ShownDuration},
		Settings: []providers.Setting{
			{Key: "issuer", Read: readIssuer},
			{Key: "discovery_url", Read: func(v providers.Value, s *providers.Source) { configOf(*s).DiscoveryURL = v.URL("discovery_url") }},
			{Key: "jwks_url", Read: func(v providers.Value, s *providers.Source) { configOf(*s).JWKSURL = v.URL("jwks_url") }},
			{Key: "audiences", Read: readAudiences},
			{Key: "algorithms", Read: readAlgorithms},
			{Key: "commands", Read: func(v providers.Value, s *providers.Source) { configOf(*s).Commands = v.Bool() }},
			{Key: "command_audiences", Read: readCommandAudiences},
			{Key: "commands_claim", Read: readCommandsClaim},
			{Key: "max_token_life", Read: func(v providers.Value, s *providers.Source) { configOf(*s).MaxTokenLife = v.Duration() }},
			{Key: "single_use", Read: func(v providers.Value, s *providers.Source) { configOf(*s).SingleUse = v.Bool() }},
		},
		Check: checkDeclared, Warn: warnOfIssuer, Apart: apart, Shared: shared,
		Origin:    func(s providers.Source) string { return s.Issuer },
		HoldsKeys: true,
		Commands:  func(s providers.Source) bool { return configOf(s).Commands },
		Mapping:   mapping.Claims(),
	}
}

func readIssuer(v providers.Value, s *providers.Source) {
	s.Issuer = v.URL("issuer")
	if strings.ContainsAny(s.Issuer, "?#") {
		v.Fail("exactly the iss claim of its tokens", "an issuer has neither query nor fragment")
	}
}

func readAudiences(v providers.Value, s *providers.Source) {
	configOf(*s).Audiences, _ = v.Texts()
	if v.IsEmptyList() {
		v.Fail("name the client ids that its tokens are made for", "audiences is empty")
	}
}

func readCommandAudiences(v providers.Value, s *providers.Source) {
	configOf(*s).CommandAudiences, _ = v.Texts()
	if v.IsEmptyList() {
		v.Fail("name the audiences of tokens that may carry commands", "command_audiences is empty")
	}
}

// readCommandsClaim reads the name of a claim that must be true, or "name=value" for one that must be, or hold, that text.
func readCommandsClaim(v providers.Value, s *providers.Source) {
	c := configOf(*s)
	c.CommandsClaim = v.Text()
	if name, value, valued := strings.Cut(c.CommandsClaim, "="); v.IsText() && (name == "" || valued && value == "") {
		v.Fail("as in idpsync_commands, or groups=idpsync-admins", "commands_claim names no claim")
	}
}

// declarable are those JWS algorithms that prove who signed: asymmetric ones.
func declarable() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func readAlgorithms(v providers.Value, s *providers.Source) {
	c := configOf(*s)
	names, places := v.Texts()
	for i, alg := range names {
		switch {
		case slices.Contains(declarable(), alg):
			c.Algorithms = append(c.Algorithms, alg)
		case strings.EqualFold(alg, "none"):
			places[i].Fail("remove it", "algorithm none proves nothing")
		case strings.HasPrefix(strings.ToUpper(alg), "HS"):
			places[i].Fail("use the issuer's RS256 or ES256", "algorithm %s shares its key with whoever checks it", alg)
		default:
			places[i].Fail(v.Near(alg, declarable()), "unknown algorithm %q", alg)
		}
	}
	if v.IsEmptyList() {
		v.Fail("leave it out for RS256", "algorithms is empty")
	}
}

// checkDeclared asks for issuer and audiences. It refuses a source whose tokens for commands nothing tells from those of
// logins: whoever can log in would be an administrator.
func checkDeclared(f providers.Form, s *providers.Source) {
	c := configOf(*s)
	if !f.Has("issuer") {
		f.Fail("exactly the iss claim of its tokens", "source %q has no issuer", s.Name)
	}
	if issuerTemplate(s.Issuer) {
		f.Value("issuer").Fail("write the issuer of one directory, as in https://login.microsoftonline.com/<directory id>/v2.0, and one source for each",
			"source %q: %s stands for many directories, and no token names it as its iss", s.Name, s.Issuer)
	}
	if f.Has("discovery_url") && f.Has("jwks_url") {
		f.Key("jwks_url").Fail("remove one of them", "source %q: jwks_url takes the place of a discovery document", s.Name)
	}
	if len(c.CommandAudiences) == 0 && !f.Has("audiences") {
		f.Fail("the client ids that its tokens are made for", "source %q has no audiences", s.Name)
	}
	marked := len(c.CommandAudiences) > 0 || c.CommandsClaim != ""
	switch {
	case c.Commands && !marked:
		f.Key("commands").Fail("set command_audiences, which no login has, or commands_claim, which its issuer sets for administrators alone",
			"source %q: nothing tells tokens that carry commands from those of logins", s.Name)
	case !c.Commands && marked:
		f.Fail("add commands: true, or take them out", "source %q: command_audiences and commands_claim are for a source with commands: true", s.Name)
	}
}

func warnOfIssuer(f providers.Form, s providers.Source) {
	if configOf(s).Commands && publicIssuer(s.Issuer) {
		f.Value("commands").Warn("take commands from an issuer of your own, or with credentials: idpsync credential create",
			"anyone can get a token of %s, and with commands: true it may carry commands with all grants of source %q", s.Issuer, s.Name)
	}
}

// apart refuses two sources that one token would satisfy, and audiences of commands that logins have too.
func apart(all []providers.Source) []providers.Conflict {
	var out []providers.Conflict
	for i, s := range all {
		for _, other := range all[:i] {
			if s.Issuer == "" || s.Issuer != other.Issuer {
				continue
			}
			mine, theirs := configOf(s), configOf(other)
			for _, audience := range slices.Concat(mine.Audiences, mine.CommandAudiences) {
				if slices.Contains(theirs.Audiences, audience) || slices.Contains(theirs.CommandAudiences, audience) {
					out = append(out, providers.Conflict{
						Source: i, Hint: "a token must belong to one source; make them one, or use client ids of their own",
						Message: fmt.Sprintf("sources %q and %q have the same issuer and audience %q", other.Name, s.Name, audience),
					})
				}
			}
		}
	}
	for i, s := range all {
		for _, other := range all {
			for _, audience := range configOf(s).CommandAudiences {
				if slices.Contains(configOf(other).Audiences, audience) {
					out = append(out, providers.Conflict{
						Source: i, Hint: "let administrators' tools use a client id or resource of their own",
						Message: fmt.Sprintf("source %q takes commands for the audience %q, which logins of source %q have", s.Name, audience, other.Name),
					})
				}
			}
		}
	}
	return out
}

// shared finds the audiences for which two sources take the same tokens.
func shared(s, other providers.Source) []providers.Shared {
	if s.Issuer != other.Issuer {
		return nil
	}
	var out []providers.Shared
	for _, audience := range configOf(s).Audiences {
		if slices.Contains(configOf(other).Audiences, audience) {
			out = append(out, providers.Shared{
				Key: "issuer", What: fmt.Sprintf("tokens: issuer %s, audience %q", s.Issuer, audience),
				Hint: "give each tenant a client id of its own; one login could be published to either",
			})
		}
	}
	return out
}
