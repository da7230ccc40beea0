package mapping

import (
	"fmt"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// LinkVerified is the only value of a source's link_by_email besides none.
const LinkVerified = "verified"

// Lint returns why the source that the mapping was compiled for should not be applied. A source that is in force already
// works all the same: an address that is not proved stays so.
func (m *Mapping) Lint(src providers.Source) []Problem {
	var problems []Problem
	provable := m.trusted || m.proof.counts
	if m.login && !provable && !src.TrustEmail && src.UnverifiedEmail != providers.AcceptUnverified {
		problems = append(problems, m.unproved())
	}
	switch {
	case src.LinkByEmail == "":
	case src.LinkByEmail != LinkVerified:
		problems = append(problems, Problem{Field: "link_by_email", Message: fmt.Sprintf("%q is not known", src.LinkByEmail), Hint: `leave it out, or write "verified"`})
	case !provable && len(problems) == 0:
		problems = append(problems, Problem{Field: "link_by_email", Message: "needs a source that proves its addresses: " + m.proof.why, Hint: "set trust_email: true and domains, or have email_verified speak of the address"})
	}
	return problems
}

// Warnings returns what works and should not stay.
func (m *Mapping) Warnings() []Problem {
	var problems []Problem
	switch {
	case m.proof.source == "":
	case m.trusted:
		problems = append(problems, Problem{Field: "email_verified", Column: 1, Message: "has no effect: " + trusted, Hint: "remove one of the two"})
	case !m.proof.counts:
		problems = append(problems, Problem{Field: "email_verified", Column: 1, Message: "has no effect: " + m.proof.why, Hint: "remove it, or have it speak of the address"})
	}
	if m.subject != "" {
		problems = append(problems, Problem{
			Field: "subject", Column: 1, Message: m.subject,
			Hint: "use a persistent NameID, or an attribute such as pairwise-id, eduPersonUniqueId, objectidentifier or employeeNumber",
		})
	}
	return problems
}

// Proves reports whether an event of the source can prove its address at all.
func (m *Mapping) Proves() bool { return m.trusted || m.proof.counts }

func (m *Mapping) unproved() Problem {
	p := Problem{Field: m.proof.field, Column: 1, Message: strings.TrimPrefix(m.proof.why, m.proof.field+" ") + "; every first login would be refused", Hint: m.proof.hint}
	if p.Field == "trust_email" {
		p.Column = 0
	}
	return p
}
