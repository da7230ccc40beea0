package assemble

import (
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
)

// Kinds is the list of providers: one line for each kind of source.
func Kinds() providers.Kinds {
	return providers.Kinds{
		oidc.Kind(),
		saml.Kind(),
		feed.Kind(),
		command.Kind(),
	}
}

// kinds are those of the options, to be changed at will.
func (o Options) kinds() providers.Kinds {
	if o.Kinds == nil {
		return Kinds()
	}
	return slices.Clone(o.Kinds)
}

// kindNames are the kinds as policies know them.
func kindNames(kinds providers.Kinds) []providers.Kind {
	names := make([]providers.Kind, len(kinds))
	for i, k := range kinds {
		names[i] = k.Kind
	}
	return names
}
