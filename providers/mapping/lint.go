package mapping

import (
	"fmt"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// LinkVerified is the only value of a source's link_by_email besides none.
const LinkVerified = "verified"

// lintLinking refuses a source that would take an account by an e-mail address that nobody verified. Two claims speak
// of one address only when both are the standard ones, or when the configuration names both.
func (m *Mapping) lintLinking(src providers.Source) []Problem {
	const field = "link_by_email"
	switch src.LinkByEmail {
	case "":
		return nil
	case LinkVerified:
	default:
		return []Problem{{Field: field, Message: fmt.Sprintf("%q is not known", src.LinkByEmail), Hint: `leave it out, or write "verified"`}}
	}
	if src.Kind != providers.KindOIDC {
		if src.TrustEmail {
			return nil
		}
		return []Problem{{Field: field, Message: "needs a source whose e-mail addresses are verified", Hint: "set trust_email: true and domains"}}
	}
	email, ownEmail := src.Mapping["email"]
	verified, ownVerified := src.Mapping["email_verified"]
	switch {
	case ownVerified && strings.TrimSpace(verified) == "":
		return []Problem{{Field: field, Message: "needs email_verified, which is switched off", Hint: "take the empty email_verified out of the mapping"}}
	case ownEmail && email != oidcDefaults["email"] && !ownVerified:
		return []Problem{{
			Field: field, Message: "needs a mapping of email_verified beside that of email",
			Hint: "claims.email_verified speaks of claims.email; name the claim that speaks of the address you map",
		}}
	}
	return nil
}
