package mapping

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// What is known of SAML attributes from which people take a subject, by name in lower case. A subject must be one value
// that stays with a person and never passes to another.
var (
	persistentAttributes = nameSet(
		"pairwise-id", "urn:oasis:names:tc:SAML:attribute:pairwise-id", "subject-id", "urn:oasis:names:tc:SAML:attribute:subject-id",
		"eduPersonUniqueId", "urn:oid:1.3.6.1.4.1.5923.1.1.1.13", "eduPersonTargetedID", "urn:oid:1.3.6.1.4.1.5923.1.1.1.10",
		"objectidentifier", "http://schemas.microsoft.com/identity/claims/objectidentifier", "objectGUID", "objectSid", "entryUUID",
		"employeeNumber", "urn:oid:2.16.840.1.113730.3.1.3", claimsURI+"privatepersonalidentifier",
	)
	changeableAttributes = nameSet(append([]string{
		"upn", "userPrincipalName", claimsURI + "upn", claimsURI + "name", "eduPersonPrincipalName", "urn:oid:1.3.6.1.4.1.5923.1.1.1.6",
		"uid", "urn:oid:0.9.2342.19200300.100.1.1", "username", "login", "sAMAccountName", "preferredUsername", "telephoneNumber",
	}, concat(samlMail, samlName, samlFirstName, samlLastName)...)...)
	multiValuedAttributes = nameSet(
		"eduPersonAffiliation", "urn:oid:1.3.6.1.4.1.5923.1.1.1.1", "eduPersonScopedAffiliation", "urn:oid:1.3.6.1.4.1.5923.1.1.1.9",
		"eduPersonEntitlement", "urn:oid:1.3.6.1.4.1.5923.1.1.1.7", "memberOf", "isMemberOf", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1",
		"groups", "group", "roles", "role", entraGroups, "http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "schacHomeOrganizationType",
	)
)

func concat(lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		out = append(out, list...)
	}
	return out
}

func nameSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[strings.ToLower(name)] = true
	}
	return set
}

// subjectWarning says why a subject may change or pass to another person, or nothing.
func subjectWarning(e ast.Expr) string {
	for _, from := range placesOf(e, "attributes", true) {
		if len(from) == 0 {
			return "which attribute the subject comes from cannot be told from the expression"
		}
		what := ""
		switch name := strings.ToLower(from[0].key); {
		case persistentAttributes[name]:
			continue
		case changeableAttributes[name]:
			what = "can change or pass to another person, who would then be this user"
		case multiValuedAttributes[name]:
			what = "can have several values in any order, so that one person is several users and several people are one"
		default:
			what = "is not known to have one value that stays with one person"
		}
		return fmt.Sprintf("comes from attribute %q, which %s", from[0].key, what)
	}
	return ""
}
