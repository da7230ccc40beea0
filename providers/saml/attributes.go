package saml

import "github.com/beevik/etree"

const nsSchemaInstance = "http://www.w3.org/2001/XMLSchema-instance"

// attributes reads the AttributeStatements (SAML core 2.7.3): lists of values, by Name, and by FriendlyName too where
// no attribute has that for its Name. Attributes of one Name are taken together. A value that holds an element other
// than one NameID, as in eduPersonTargetedID, has no text and is left out, as are empty values and encrypted
// attributes. White space around a value is no part of it.
func attributes(assertion *etree.Element) map[string][]string {
	named := make(map[string][]string)
	friendly := make(map[string][]string)
	for _, statement := range children(assertion, nsAssertion, "AttributeStatement") {
		for _, a := range children(statement, nsAssertion, "Attribute") {
			name, alias := attrValue(a, "Name"), attrValue(a, "FriendlyName")
			if name == "" {
				continue
			}
			values := attributeValues(a)
			named[name] = append(named[name], values...)
			if alias != "" && alias != name {
				friendly[alias] = append(friendly[alias], values...)
			}
		}
	}
	for alias, values := range friendly {
		if _, taken := named[alias]; !taken {
			named[alias] = values
		}
	}
	return named
}

func attributeValues(a *etree.Element) []string {
	values := []string{}
	for _, v := range children(a, nsAssertion, "AttributeValue") {
		if isNil(v) {
			continue
		}
		if value, plain := trimmed(v); plain {
			if value != "" {
				values = append(values, value)
			}
			continue
		}
		nameID, single := only(v, nsAssertion, "NameID")
		if nameID == nil || !single || len(v.ChildElements()) > 1 {
			continue
		}
		if value, plain := trimmed(nameID); plain && value != "" {
			values = append(values, value)
		}
	}
	return values
}

func isNil(v *etree.Element) bool {
	for i := range v.Attr {
		a := &v.Attr[i]
		if a.Key == "nil" && a.NamespaceURI() == nsSchemaInstance {
			return a.Value == "true" || a.Value == "1"
		}
	}
	return false
}
