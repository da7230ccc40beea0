package feed

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// Config is what a feed has beside the fields of every source.
type Config struct {
	Format string `json:"format,omitempty"` // FormatUser or FormatSCIM; empty means FormatUser
}

// configOf returns the configuration of a feed.
func configOf(s providers.Source) *Config {
	if c, ok := s.Config.(*Config); ok {
		return c
	}
	return &Config{}
}

// Kind describes feeds.
func Kind() providers.Descriptor {
	return providers.Descriptor{
		Kind: providers.KindFeed, Title: "feed", New: New, Shapes: []providers.Shape{providers.ShapeFeed},
		Config: func() any { return &Config{} },
		Settings: []providers.Setting{{Key: "format", Read: func(v providers.Value, s *providers.Source) {
			configOf(*s).Format = v.Word("format", FormatUser, FormatSCIM)
		}}},
		Check:   checkDeclared,
		Origin:  func(s providers.Source) string { return "format " + configOf(s).Format },
		Mapping: mapping.Resource(), Mapped: mapped,
	}
}

func mapped(s providers.Source) bool { return configOf(s).Format == FormatSCIM }

func checkDeclared(f providers.Form, s *providers.Source) {
	if c := configOf(*s); c.Format == "" {
		c.Format = FormatUser
	}
	if !mapped(*s) && f.Has("mapping") {
		f.Key("mapping").Fail("set format: scim, or remove the mapping", "a feed in format user has no mapping: its events are the user already")
	}
}
