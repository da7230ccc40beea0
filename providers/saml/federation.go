package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxMetadata bounds a metadata document, which may be that of a whole federation.
const maxMetadata = 16 << 20

const tooLarge = "the metadata are larger than 16 MiB; use metadata_url with the address of the one entity, which a federation's MDQ service has"

// An entity is an EntityDescriptor of a document, not yet read: where it stands, and in what.
type entity struct {
	id      string
	idp     bool     // it has an IDPSSODescriptor
	around  [][]byte // the start tags of the groups that it stands in, outermost first; their namespaces and ends hold for it
	closing []string // the names of those groups, as written
	doc     []byte   // from its start tag to its end tag
}

// document returns the entity as a document of its own, within its groups.
func (e *entity) document() []byte {
	out := bytes.Join(e.around, nil)
	out = append(out, e.doc...)
	for i := len(e.closing) - 1; i >= 0; i-- {
		out = append(out, "</"+e.closing[i]+">"...)
	}
	return out
}

// maxGroups bounds how deep groups of entities stand in each other.
const maxGroups = 8

// entitiesOf finds the entities of a document in UTF-8, be it one or a federation's. It reads tags alone, so that what is odd
// in one of them spoils none of the others.
func entitiesOf(doc []byte) ([]entity, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var all []entity
	var around [][]byte
	var closing []string
	for {
		begin := d.InputOffset()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the metadata cannot be read: %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, errors.New("the metadata have a document type declaration")
		case xml.EndElement:
			around, closing = around[:len(around)-1], closing[:len(closing)-1]
		case xml.StartElement:
			tag := doc[begin:d.InputOffset()]
			switch {
			case t.Name.Space == nsMetadata && t.Name.Local == "EntitiesDescriptor" && len(around) < maxGroups:
				if bytes.HasSuffix(tag, []byte("/>")) { // the decoder gives it an end of its own
					tag = append(bytes.TrimSuffix(bytes.Clone(tag), []byte("/>")), '>')
				}
				around, closing = append(around, tag), append(closing, nameIn(tag))
			case t.Name.Space == nsMetadata && t.Name.Local == "EntityDescriptor":
				e := entity{id: entityIDOf(t), around: bytesOf(around), closing: append([]string(nil), closing...)}
				if e.idp, err = skipEntity(d); err != nil {
					return nil, fmt.Errorf("the metadata of %s cannot be read: %w", strconv.Quote(e.id), err)
				}
				e.doc = doc[begin:d.InputOffset()]
				all = append(all, e)
			case len(around) == 0:
				return nil, fmt.Errorf("the metadata are neither an EntityDescriptor nor an EntitiesDescriptor, but <%s>", t.Name.Local)
			default:
				if err := d.Skip(); err != nil {
					return nil, fmt.Errorf("the metadata cannot be read: %w", err)
				}
			}
		}
	}
}

func bytesOf(tags [][]byte) [][]byte { return append([][]byte(nil), tags...) }

// nameIn is the name of a start tag as it is written.
func nameIn(tag []byte) string {
	name := strings.TrimPrefix(string(tag), "<")
	if i := strings.IndexAny(name, " \t\r\n/>"); i >= 0 {
		name = name[:i]
	}
	return name
}

func entityIDOf(t xml.StartElement) string {
	for _, a := range t.Attr {
		if a.Name.Space == "" && a.Name.Local == "entityID" {
			return a.Value
		}
	}
	return ""
}

// skipEntity reads to the end of an entity, and reports whether it is an identity provider.
func skipEntity(d *xml.Decoder) (idp bool, err error) {
	for depth := 1; depth > 0; {
		token, err := d.Token()
		if err != nil {
			return false, err
		}
		switch t := token.(type) {
		case xml.Directive:
			return false, errors.New("it has a document type declaration")
		case xml.StartElement:
			idp = idp || depth == 1 && t.Name.Space == nsMetadata && t.Name.Local == "IDPSSODescriptor"
			depth++
		case xml.EndElement:
			depth--
		}
	}
	return idp, nil
}

// entityOf chooses the identity provider that is called want, or the only one when want is "".
func entityOf(doc []byte, want string) (entity, error) {
	if len(doc) > maxMetadata {
		return entity{}, errors.New(tooLarge)
	}
	doc, err := utf8Metadata(doc)
	if err != nil {
		return entity{}, err
	}
	all, err := entitiesOf(doc)
	if err != nil {
		return entity{}, err
	}
	var found []entity
	for _, e := range all {
		if e.idp && (want == "" || e.id == want) {
			found = append(found, e)
		}
	}
	switch {
	case len(found) == 0 && want != "":
		return entity{}, fmt.Errorf("%w: it has no IDPSSODescriptor of the entity %q%s; check issuer", errOtherEntity, want, othersThan(want, all))
	case len(found) == 0:
		return entity{}, errors.New("the metadata has no IDPSSODescriptor; is it that of an identity provider?")
	case len(found) > 1:
		return entity{}, errors.New("the metadata has several identity providers; name one by its entityID in issuer")
	case found[0].id == "" || len(found[0].id) > 1024:
		return entity{}, errors.New("the metadata's entityID is empty or longer than 1024 characters")
	}
	return found[0], nil
}

// ownMetadata returns what a source keeps of a metadata document: its identity provider alone where it names one, in UTF-8.
func ownMetadata(doc []byte, want string) ([]byte, error) {
	if want != "" {
		e, err := entityOf(doc, want)
		if err != nil {
			return nil, err
		}
		return e.document(), nil
	}
	return utf8Metadata(doc)
}
