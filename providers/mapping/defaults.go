package mapping

import (
	"maps"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/idpsync/idpsync/providers"
)

// fields lists the fields that can be mapped, in the order in which they are mapped and reported.
var fields = []struct {
	name string
	want result
}{
	{"subject", text},
	{"email", text},
	{"email_verified", boolean},
	{"name", text},
	{"identity_name", text},
	{"display_name", text},
	{"first_name", text},
	{"last_name", text},
	{"roles", names},
	{"organizations", roleObjects},
	{"avatar", text},
}

// A result is the kind of value that a field wants.
type result int

const (
	text result = iota
	boolean
	names
	roleObjects
)

func (r result) String() string {
	return [...]string{"a string", "a boolean", "a list of strings or one string", "a list of objects with organizationId and roleId"}[r]
}

var claimsDefaults = map[string]string{
	"email":          "claims.email",
	"email_verified": "claims.email_verified",
	"name":           "claims.name",
	"first_name":     "claims.given_name",
	"last_name":      "claims.family_name",
}

const claimsURI = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

const emailFormat = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"

// The names under which identity providers send the default attributes, the usual ones first.
var (
	samlMail      = []string{"email", "mail", "emailAddress", claimsURI + "emailaddress", "urn:oid:0.9.2342.19200300.100.1.3"}
	samlName      = []string{"displayName", "name", "http://schemas.microsoft.com/identity/claims/displayname", "urn:oid:2.16.840.1.113730.3.1.241", "cn", "urn:oid:2.5.4.3"}
	samlFirstName = []string{"givenName", "firstName", claimsURI + "givenname", "urn:oid:2.5.4.42"}
	samlLastName  = []string{"sn", "surname", "lastName", claimsURI + "surname", "urn:oid:2.5.4.4"}
)

var attributeDefaults = map[string]string{
	"email":      firstOf(samlMail) + `.or(name_id_format == "` + emailFormat + `" ? optional.of(name_id) : optional.none())`,
	"name":       firstOf(samlName),
	"first_name": firstOf(samlFirstName),
	"last_name":  firstOf(samlLastName),
}

// addressWords says where the addresses of a mapping come from.
func addressWords(email *entry) string {
	switch {
	case email == nil:
		return "the source maps no email"
	case email.source == attributeDefaults["email"]:
		return "none of the attributes " + strings.Join(samlMail, ", ") + " has one, nor a NameID of the format emailAddress"
	default:
		return "nothing came from " + email.source
	}
}

// firstOf is the expression for the first value of the first of these attributes that has one.
func firstOf(attributes []string) string {
	var b strings.Builder
	for i, a := range attributes {
		value := `attributes[?"` + a + `"][?0]`
		if i == 0 {
			b.WriteString(value)
		} else {
			b.WriteString(".or(" + value + ")")
		}
	}
	return b.String()
}

var resourceDefaults = map[string]string{
	"email": `(resource.?emails.orValue([]).filter(e, e.?primary.orValue(false) == true) + ` +
		`resource.?emails.orValue([]))[?0].?value`,
	"name":          "resource.?displayName.or(resource.?name.?formatted)",
	"identity_name": "resource.userName",
	"display_name":  "resource.displayName",
	"first_name":    "resource.name.givenName",
	"last_name":     "resource.name.familyName",
	"roles":         "resource.roles.map(r, r.value)",
}

// Claims is the vocabulary of sources that send the claims of a token.
func Claims() *providers.Vocabulary {
	return &providers.Vocabulary{
		Variables: []providers.Variable{{Name: "claims", Type: providers.VariableObject}},
		Hint:      "the variable is claims, as in claims.email",
		Defaults:  maps.Clone(claimsDefaults), Vouches: true, Subject: subjectIsSub,
	}
}

// Attributes is the vocabulary of sources that send the attributes of an assertion.
func Attributes() *providers.Vocabulary {
	return &providers.Vocabulary{
		Variables: []providers.Variable{
			{Name: "attributes", Type: providers.VariableLists},
			{Name: "name_id", Type: providers.VariableText},
			{Name: "name_id_format", Type: providers.VariableText},
			{Name: "session_index", Type: providers.VariableText},
		},
		Hint:     `the variables are attributes, name_id, name_id_format and session_index, as in attributes["mail"][0]`,
		Defaults: maps.Clone(attributeDefaults),
	}
}

// Resource is the vocabulary of sources that send SCIM resources.
func Resource() *providers.Vocabulary {
	return &providers.Vocabulary{
		Variables: []providers.Variable{{Name: "resource", Type: providers.VariableObject}},
		Hint:      "the variable is resource, as in resource.userName",
		Defaults:  maps.Clone(resourceDefaults), Subject: subjectIsSub,
	}
}

const subjectIsSub = "an OIDC identity is always the sub claim"

// variables declares what a vocabulary speaks of.
func variables(v *providers.Vocabulary) []cel.EnvOption {
	types := map[providers.VariableType]*cel.Type{
		providers.VariableObject: cel.MapType(cel.StringType, cel.DynType),
		providers.VariableLists:  cel.MapType(cel.StringType, cel.ListType(cel.StringType)),
		providers.VariableText:   cel.StringType,
	}
	options := make([]cel.EnvOption, len(v.Variables))
	for i, variable := range v.Variables {
		options[i] = cel.Variable(variable.Name, types[variable.Type])
	}
	return options
}
