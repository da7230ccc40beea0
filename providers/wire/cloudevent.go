package wire

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/idpsync/idpsync/providers"
)

// The reasons of a message that is not the CloudEvent it says it is.
const (
	ReasonCloudEvent  = "cloudevent"   // an attribute is missing, twice there, or not of its type
	ReasonContentType = "content_type" // its data is not JSON
)

// An Event is a message with its CloudEvent, if it was one, taken off.
type Event struct {
	CloudEvent  bool              // false: a plain message; only Data and Header are set
	ID          string            // ce-id
	Source      string            // ce-source
	Type        string            // ce-type
	Subject     string            // optional
	Time        time.Time         // a sender's word, never used to judge anything; optional
	ContentType string            // of Data; optional
	Extensions  map[string]string // attributes that CloudEvents 1.0 does not define, in string form
	Data        []byte            // the event itself; shares memory with the payload
	Header      providers.Header  // the message's own headers, as given
}

// Unwrap reads a message as the NATS protocol binding of CloudEvents 1.0 says (sections 3.1 and 3.2, version 1.0.3).
// A Content-Type of application/cloudevents or application/cloudevents+json means structured mode; else any ce- header
// means binary mode; else the message is plain and passes unchanged.
//
// Extensions are welcome. An attribute that appears twice is refused, as are batches and data that is not JSON.
func Unwrap(header providers.Header, payload []byte) (Event, error) {
	contentType, err := single(header, "Content-Type")
	if err != nil {
		return Event{}, err
	}
	switch {
	case isStructured(contentType):
		return structured(header, payload)
	case strings.HasPrefix(mediaType(contentType), "application/cloudevents"):
		return Event{}, &providers.Error{
			Class: providers.ErrMalformed, Reason: ReasonContentType, Field: "Content-Type",
			Message: "only single CloudEvents in JSON format are read; send each event as its own message",
		}
	}
	for name := range header {
		if isAttribute(name) {
			return binary(header, payload, contentType)
		}
	}
	return Event{Data: payload, Header: header}, nil
}

// UnwrapHeaders is Unwrap before the payload is there: it finds what headers alone say of an event. The attributes of one in
// structured mode are in the payload.
func UnwrapHeaders(header providers.Header) (Event, error) {
	if contentType, err := single(header, "Content-Type"); err == nil && isStructured(contentType) {
		return Event{CloudEvent: true, Header: header}, nil
	}
	return Unwrap(header, nil)
}

func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

func isStructured(contentType string) bool {
	media := mediaType(contentType)
	return media == "application/cloudevents" || media == "application/cloudevents+json"
}

func isAttribute(name string) bool { return len(name) > 3 && strings.EqualFold(name[:3], "ce-") }

// single returns the only value of a header, or "" when it is absent.
func single(h providers.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", ceFault(name, "appears twice")
	}
	return values[0], nil
}

// binary reads the attributes of ce- headers (NATS protocol binding section 3.1.2).
func binary(header providers.Header, payload []byte, contentType string) (Event, error) {
	e := Event{CloudEvent: true, Data: payload, Header: header}
	version := ""
	seen := make(map[string]bool, 8)
	for name, values := range header {
		if !isAttribute(name) || len(values) == 0 {
			continue
		}
		attribute := strings.ToLower(name[3:]) // header names have no case, attribute names are lower case
		if seen[attribute] || len(values) > 1 {
			return Event{}, ceFault("ce-"+printable(attribute), "appears twice")
		}
		seen[attribute] = true
		value, ok := decodeHeader(values[0])
		if !ok {
			return Event{}, ceFault("ce-"+printable(attribute), "is not percent-encoded UTF-8")
		}
		if attribute == "specversion" {
			version = value
			continue
		}
		if err := e.set(attribute, value); err != nil {
			return Event{}, err
		}
	}
	if e.ContentType == "" {
		e.ContentType = contentType
	}
	return e, e.check(version)
}

// structured reads the JSON event format: attributes are members, the event is data or data_base64.
func structured(header providers.Header, payload []byte) (Event, error) {
	if err := precheck(payload, Limits{}, true); err != nil {
		return Event{}, err
	}
	e := Event{CloudEvent: true, Header: header}
	version, hasData := "", false
	dec := jsontext.NewDecoder(bytes.NewBuffer(payload))
	tok, err := dec.ReadToken()
	if err != nil {
		return Event{}, readFault(err)
	}
	if tok.Kind() != '{' {
		return Event{}, malformed("", "must be a CloudEvent, which is a JSON object")
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return Event{}, readFault(err)
		}
		name := tok.String()
		if name == "data" {
			raw, err := dec.ReadValue()
			if err != nil {
				return Event{}, readFault(err)
			}
			if raw.Kind() != 'n' { // a null attribute is an absent one (JSON event format section 2.2)
				if hasData {
					return Event{}, ceFault("data", "stands beside data_base64")
				}
				e.Data, hasData = bytes.Clone(raw), true
			}
			continue
		}
		if tok, err = dec.ReadToken(); err != nil {
			return Event{}, readFault(err)
		}
		switch tok.Kind() {
		case 'n':
			continue
		case '"', '0', 't', 'f':
		default:
			return Event{}, ceFault(printable(name), "must be a string, a number or a boolean")
		}
		if tok.Kind() != '"' && standard(name) {
			return Event{}, ceFault(printable(name), "must be a string")
		}
		switch name {
		case "specversion":
			version = tok.String()
		case "data_base64":
			if hasData {
				return Event{}, ceFault("data", "stands beside data_base64")
			}
			data, err := base64.StdEncoding.Strict().DecodeString(tok.String())
			if err != nil {
				return Event{}, ceFault("data_base64", "is not base64")
			}
			e.Data, hasData = data, true
		default:
			if err := e.set(name, tok.String()); err != nil {
				return Event{}, err
			}
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return Event{}, readFault(err)
	}
	if _, err := dec.ReadToken(); err == nil || !isEOF(err) {
		return Event{}, malformed("", "goes on after its end")
	}
	if !hasData {
		return Event{}, ceFault("data", "is required")
	}
	return e, e.check(version)
}

func standard(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data_base64":
		return true
	}
	return false
}

// set stores one attribute. Names are lower-case letters and digits (CloudEvents 1.0 section 3.1), so that none is
// a case variant of another.
func (e *Event) set(name, value string) error {
	switch name {
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "type":
		e.Type = value
	case "subject":
		e.Subject = value
	case "datacontenttype":
		e.ContentType = value
	case "time":
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return ceFault("time", "is not a time of RFC 3339")
		}
		e.Time = t
	default:
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return ceFault(printable(name), "is not an attribute name: lower-case letters and digits only")
		}
		if e.Extensions == nil {
			e.Extensions = make(map[string]string)
		}
		e.Extensions[name] = value
	}
	return nil
}

// check asks for the required attributes (CloudEvents 1.0 section 3.1.1) and for data that we can read.
func (e *Event) check(version string) error {
	for _, a := range []struct{ name, value string }{{"specversion", version}, {"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if a.value == "" {
			return ceFault(a.name, "is required")
		}
	}
	if version != "1.0" {
		return ceFault("specversion", "must be 1.0")
	}
	if e.ContentType != "" && !isJSON(e.ContentType) {
		return &providers.Error{Class: providers.ErrMalformed, Reason: ReasonContentType, Field: "datacontenttype", Message: "the event's data must be JSON"}
	}
	return nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"))
}

// decodeHeader undoes quoting and one round of percent-encoding (NATS protocol binding section 3.1.3.2). A percent
// sign that begins no escape stands for itself, as some senders do not encode.
func decodeHeader(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.IndexByte(s, '%') < 0 {
		return s, utf8.ValidString(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), utf8.ValidString(b.String())
}

func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func ceFault(field, message string) *providers.Error {
	return &providers.Error{Class: providers.ErrMalformed, Reason: ReasonCloudEvent, Field: field, Message: field + " " + message}
}
