package assemble

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
)

// Factories is the list of providers: one line for each kind of source.
func Factories() map[providers.Kind]providers.Factory {
	return map[providers.Kind]providers.Factory{
		providers.KindOIDC:    oidc.New,
		providers.KindSAML:    saml.New,
		providers.KindFeed:    feed.New,
		providers.KindCommand: command.New,
	}
}
