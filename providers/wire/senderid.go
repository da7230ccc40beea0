package wire

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/idpsync/idpsync/providers"
)

// SenderID finds the id that the sender of a CloudEvent gave it although the event is faulty, so that it can be refused under
// the name that its sender knows; "" when there is none, or more than one. It is for answers alone.
func SenderID(header providers.Header, payload []byte) string {
	id, found := "", false
	for name, values := range header {
		if !strings.EqualFold(name, "ce-id") {
			continue
		}
		if found || len(values) != 1 {
			return ""
		}
		if id, found = decodeHeader(values[0]); !found {
			return ""
		}
	}
	if contentType, err := single(header, "Content-Type"); found || err != nil || !isStructured(contentType) {
		return id
	}
	return memberID(payload)
}

// memberID is the one member id of a JSON object, as far as the object can be read.
func memberID(payload []byte) string {
	dec := jsontext.NewDecoder(bytes.NewBuffer(payload), jsontext.AllowDuplicateNames(true))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return ""
	}
	id := ""
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return id
		}
		is := name.String() == "id"
		value, err := dec.ReadValue()
		if err != nil {
			return id
		}
		if !is {
			continue
		}
		if id != "" || value.Kind() != '"' {
			return ""
		}
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return ""
		}
		id = string(text)
	}
	return id
}
