package manifest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// Options are the checks that need more than the file. Those not set are not made.
type Options struct {
	// CheckSource reports why the source could not work, or what works and will not for long; it contacts nobody.
	CheckSource func(providers.Source) (warnings []string, err error)
	// EntityID reads the entityID of a SAML source's identity provider from its metadata document or URL.
	EntityID func(providers.Source) (string, error)
	// CheckPolicies reports why the policies cannot be used.
	CheckPolicies func([]store.Policy) error
	// WarnOfPolicies tells what the policies may not do as they are meant. Its files are names of policies.
	WarnOfPolicies func([]store.Policy) strictyaml.Faults
}

// A Declaration is what a file declares.
type Declaration struct {
	// Directory is sorted as the store sorts it. Roles that the file gives no id have none; see [Complete].
	Directory store.Directory
	// Warnings are things that work and should not stay.
	Warnings strictyaml.Faults

	unread  []unreadSource
	written map[sourceKeyOf]bool
}

// An unreadSource is one whose metadata URL could not be read.
type unreadSource struct {
	tenant, name string
	err          error
}

// Load parses the file called name.
func Load(name string, o Options) (Declaration, error) {
	data, err := strictyaml.ReadFile(name, 8<<20)
	if err != nil {
		return Declaration{}, strictyaml.Faults{{File: name, Message: err.Error(), Hint: "name a directory file; deploy/directory.example.yaml is one"}}
	}
	return Parse(name, data, o)
}

// Parse reads a declaration. Files that it names are taken relative to the folder of name. The error is
// [strictyaml.Faults], all of them.
func Parse(name string, data []byte, o Options) (Declaration, error) {
	r := &reader{written: map[sourceKeyOf]bool{}, doc: strictyaml.Parse(name, data), file: name, folder: filepath.Dir(name), options: o}
	if err := r.doc.Err(); err != nil {
		return Declaration{}, err
	}
	root := r.doc.Root()
	if !root.Present() {
		root.Fail("it starts with tenants:", "the file declares nothing")
		return Declaration{}, r.doc.Err()
	}
	m := root.Mapping()
	tenants := m.Require("tenants", "a list; [] declares that there is none")
	r.tenants(tenants)
	r.policies(m.Get("policies"))
	m.Close()
	if err := r.doc.Err(); err != nil {
		return Declaration{}, err
	}
	r.warningsOf(tenants)
	sortDirectory(&r.out)
	return Declaration{Directory: r.out, Warnings: r.warnings, unread: r.unread, written: r.written}, nil
}

// A reader walks one file.
type reader struct {
	doc      *strictyaml.Document
	file     string
	folder   string
	options  Options
	out      store.Directory
	read     []providers.Source // in the order of the file
	warnings strictyaml.Faults
	unread   []unreadSource
	written  map[sourceKeyOf]bool
}

func (r *reader) warn(v strictyaml.Value, hint, format string, args ...any) {
	line, column := v.Position()
	r.warnings = append(r.warnings, strictyaml.Fault{File: r.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// unique keeps the places where names were first used.
type unique map[string]strictyaml.Value

// add notes a name and reports whether it is new; a second use is a fault.
func (u unique) add(v strictyaml.Value, what, name string) bool {
	if name == "" {
		return false
	}
	if first, ok := u[name]; ok {
		line, _ := first.Position()
		v.Fail("each is declared once", "%s %q is declared twice; first in line %d", what, name, line)
		return false
	}
	u[name] = v
	return true
}

const maxName = 200 // characters

// name reads text that people and messages use to name something.
func name(v strictyaml.Value, what string) string {
	s := v.Text()
	switch {
	case !v.Present() || s == "" && v.IsText():
		v.Fail("give it a name", "%s has no name", what)
	case s == "":
	case utf8.RuneCountInString(s) > maxName:
		v.Fail(fmt.Sprintf("at most %d characters", maxName), "the name of %s is too long", what)
	case strings.TrimSpace(s) != s:
		v.Fail("remove the space", "the name of %s begins or ends with a space", what)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.Is(unicode.Cf, c) }):
		v.Fail("remove it", "the name of %s holds an invisible character", what)
	default:
		return s
	}
	return ""
}

// id reads a UUID in its usual form of 36 characters; braces, URNs and bare digits are other forms.
func id(v strictyaml.Value, what string) string {
	s := v.Text()
	if s == "" && !v.IsText() {
		return ""
	}
	parsed, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		v.Fail("8-4-4-4-12 hexadecimal digits; uuidgen makes one", "the id of %s is not a UUID: %q", what, s)
		return ""
	}
	return parsed.String()
}

// texts reads a list without repeats, each item with its place.
func texts(v strictyaml.Value) ([]string, []strictyaml.Value) {
	var out []string
	var places []strictyaml.Value
	seen := unique{}
	for _, item := range v.List() {
		s := item.Text()
		if s == "" {
			if item.IsText() {
				item.Fail("remove it", "an empty item")
			}
			continue
		}
		if _, ok := seen[s]; ok {
			item.Fail("remove it", "%q is listed twice", s)
			continue
		}
		seen[s] = item
		out, places = append(out, s), append(places, item)
	}
	return out, places
}

// beside places a relative path of the file in its folder.
func (r *reader) beside(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.folder, p)
}

// path makes a path of the file absolute.
func (r *reader) path(p string) string {
	p = r.beside(p)
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// contents reads a file that the declaration names.
func (r *reader) contents(v strictyaml.Value, limit int64) []byte {
	data, err := strictyaml.ReadFile(r.beside(v.Text()), limit)
	if err != nil {
		v.Fail("relative paths start at the folder of this file", "%v", err)
		return nil
	}
	return data
}

func sortDirectory(d *store.Directory) {
	slices.SortFunc(d.Tenants, func(a, b store.Tenant) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Roles, func(a, b store.Role) int {
		return compare(a.TenantID, b.TenantID, a.Scope, b.Scope, a.Name, b.Name)
	})
	slices.SortFunc(d.Organizations, func(a, b store.Organization) int { return compare(a.TenantID, b.TenantID, a.ID, b.ID) })
	slices.SortFunc(d.Sources, func(a, b store.Source) int { return compare(a.TenantID, b.TenantID, a.Name, b.Name) })
	slices.SortFunc(d.Policies, func(a, b store.Policy) int { return strings.Compare(a.Name, b.Name) })
}

// compare compares pairs of strings, the first that differ deciding.
func compare(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
