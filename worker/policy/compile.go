package policy

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/strictyaml"
)

// Bounds of what is read, far above what anybody writes: the library's parser and checker recurse.
const (
	maxFile      = 1 << 20 // bytes
	maxStatement = 64 << 10
	maxDepth     = 64 // of brackets
	maxNotice    = 500
)

// ReservedPrefix begins the ids of the built-in policies. No other policy may have such an id.
const ReservedPrefix = "builtin."

//go:embed builtin/*.cedar
var builtin embed.FS

// A File is a file of Cedar policies.
type File struct {
	Name string // for positions, and for the ids of policies that have no @id
	Text string
}

// A Policy is one policy of a set, for people to read.
type Policy struct {
	ID      string `json:"id"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Effect  string `json:"effect"` // permit or forbid
	Notice  string `json:"notice,omitempty"`
	Text    string `json:"text"`
	Builtin bool   `json:"builtin"`
}

// Builtin returns the built-in policies as they are written.
func Builtin() ([]File, error) {
	files, err := Load(builtin, "builtin")
	for i := range files {
		files[i].Name = "builtin/" + files[i].Name
	}
	return files, err
}

// Load reads all files of a folder whose names end in .cedar, by name. Folders in it are not read.
func Load(fsys fs.FS, dir string) ([]File, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	var files []File
	for _, e := range entries {
		if path.Ext(e.Name()) != ".cedar" {
			continue
		}
		info, err := fs.Stat(fsys, path.Join(dir, e.Name())) // follows links, as mounted configuration has them
		if err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
		if info.IsDir() {
			continue
		}
		if info.Size() > maxFile {
			return nil, fmt.Errorf("read policies: %s has %d bytes, more than %d", e.Name(), info.Size(), maxFile)
		}
		text, err := fs.ReadFile(fsys, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
		files = append(files, File{Name: e.Name(), Text: string(text)})
	}
	return files, nil
}

// A rule is a policy ready to be asked.
type rule struct {
	Policy
	cedar *cedar.Policy
}

// A Set is the built-in policies and those of some files. It does not change and is safe for concurrent use.
type Set struct {
	rules   map[string]*rule
	asked   map[cedar.EntityUID]rules // those that can apply to an action
	members map[cedar.EntityType][]string
	version string
	known   *known
}

// Compile reads, checks and compiles policies together with the built-in ones. Its error, when the policies are at
// fault, is [strictyaml.Faults] with every fault of all files; a set with a fault is never in part in force.
func Compile(files []File) (*Set, error) {
	checks, err := newSchema()
	if err != nil {
		return nil, err
	}
	return compile(files, checks, checks.check)
}

func compile(files []File, s *schema, check func(*cedar.Policy) []finding) (*Set, error) {
	own, err := Builtin()
	if err != nil {
		return nil, err
	}
	c := compiler{check: check, rules: map[string]*rule{}}
	for _, f := range own {
		c.file(f, true)
	}
	for _, f := range files {
		c.file(f, false)
	}
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b strictyaml.Fault) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, c.faults
	}
	set := &Set{rules: c.rules, version: digest(files), known: newKnown(), asked: map[cedar.EntityUID]rules{}, members: map[cedar.EntityType][]string{}}
	for _, t := range []cedar.EntityType{typeSourceKind, typeDoor, typeShape, typeAuthProvider} {
		set.members[t] = s.members(t)
	}
	for _, p := range set.Policies() {
		r := c.rules[p.ID]
		for _, action := range asked() {
			if applies(r.cedar, action) {
				set.asked[action] = append(set.asked[action], r)
			}
		}
	}
	return set, nil
}

// Version identifies the files that the set was compiled from: equal texts under equal names, in whatever order, have
// equal versions.
func (s *Set) Version() string { return s.version }

// Policies returns all policies of the set, by id.
func (s *Set) Policies() []Policy {
	out := make([]Policy, 0, len(s.rules))
	for _, r := range s.rules {
		out = append(out, r.Policy)
	}
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Policy returns the policy of an id.
func (s *Set) Policy(id string) (Policy, bool) {
	r, ok := s.rules[id]
	if !ok {
		return Policy{}, false
	}
	return r.Policy, true
}

func digest(files []File) string {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Text, b.Text))
	})
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%d:%s%d:%s", len(f.Name), f.Name, len(f.Text), f.Text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

type compiler struct {
	check  func(*cedar.Policy) []finding
	rules  map[string]*rule
	faults strictyaml.Faults
}

func (c *compiler) fault(file string, at position, message, hint string) {
	c.faults = append(c.faults, strictyaml.Fault{File: file, Line: at.line, Column: at.column, Message: message, Hint: hint})
}

func (c *compiler) file(f File, own bool) {
	if len(f.Text) > maxFile {
		c.fault(f.Name, position{}, fmt.Sprintf("the file has more than %d bytes", maxFile), "split it")
		return
	}
	if i := firstInvalid(f.Text); i >= 0 {
		c.fault(f.Name, position{1, 1}.after(f.Text[:i]), "the file is not UTF-8 here", "save it as UTF-8")
		return
	}
	for n, st := range statements(f.Text) {
		c.statement(f.Name, n+1, st, own)
	}
}

func firstInvalid(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

func (c *compiler) statement(file string, n int, st statement, own bool) {
	switch {
	case len(st.text) > maxStatement:
		c.fault(file, st.start, fmt.Sprintf("the policy has more than %d bytes", maxStatement), "split it, or close the string or bracket that runs on")
		return
	case st.depth > maxDepth:
		c.fault(file, st.start, fmt.Sprintf("brackets nest more than %d deep", maxDepth), "split the policy")
		return
	}
	p, at, err := parse(st)
	if err != nil {
		c.fault(file, at, err.message, err.hint)
		return
	}
	r := &rule{cedar: p, Policy: Policy{
		File: file, Line: st.start.line, Effect: "forbid", Text: st.text, Builtin: own,
	}}
	if p.Effect() == cedar.Permit {
		r.Effect = "permit"
	}
	reserved := c.annotations(r, n, st)
	for _, f := range c.check(p) {
		c.fault(file, st.find(f.word), f.message, f.hint)
	}
	if reserved {
		return
	}
	if first, ok := c.rules[r.ID]; ok {
		c.fault(file, st.start, fmt.Sprintf("the id %q is taken by the policy at %s:%d", r.ID, first.File, first.Line), "give each policy an @id of its own")
		return
	}
	c.rules[r.ID] = r
}

// An id goes into headers, the ledger and commands, so it has no spaces, commas or anything that needs escaping.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// annotations reads id and notice, and reports whether the id is one that the policy may not have.
func (c *compiler) annotations(r *rule, n int, st statement) (reserved bool) {
	notes := r.cedar.Annotations()
	id, named := notes["id"]
	r.ID = string(id)
	if !named {
		r.ID = r.File + ":" + strconv.Itoa(n)
	}
	switch {
	case !idForm.MatchString(r.ID) && named:
		c.fault(r.File, st.find("id"), fmt.Sprintf("@id(%q) cannot be an id", r.ID), "letters, digits and . _ : / - only, at most 128")
	case !idForm.MatchString(r.ID):
		c.fault(r.File, st.start, "the policy has no id, and the file's name cannot be part of one", `add @id("…") before it`)
	case strings.HasPrefix(r.ID, ReservedPrefix) != r.Builtin:
		reserved = true
		c.fault(r.File, st.find("id"), fmt.Sprintf("the id %q is reserved", r.ID), "ids that begin with "+ReservedPrefix+" belong to the policies that come with idpsync, which cannot be replaced; forbid what you want to forbid under another id")
	}
	notice, noted := notes["notice"]
	r.Notice = string(notice)
	unfit := strings.IndexFunc(r.Notice, func(r rune) bool { return !unicode.IsGraphic(r) }) >= 0
	if noted && (strings.TrimSpace(r.Notice) == "" || len(r.Notice) > maxNotice || unfit) {
		c.fault(r.File, st.find("notice"), "@notice must be one line of text, at most "+strconv.Itoa(maxNotice)+" bytes", "it is shown to whoever sent the event; remove it when there is nothing to say")
	}
	return reserved
}

// A syntax error of one policy.
type syntaxError struct{ message, hint string }

var (
	libraryError = regexp.MustCompile(`(?s)<input>:(\d+):(\d+)(?: ("(?:[^"\\]|\\.)*"))?: (.*)$`)
	slot         = regexp.MustCompile(`\?(principal|resource)\b`)
	expected     = regexp.MustCompile(`^exact got (.*) want (.*)$`)
)

// parse reads one policy, and finds the place of an error in its file.
func parse(st statement) (p *cedar.Policy, at position, fault *syntaxError) {
	defer func() {
		if r := recover(); r != nil {
			p, at, fault = nil, st.start, &syntaxError{"the policy cannot be read", "write it more simply"}
		}
	}()
	if m := slot.FindStringIndex(st.code); m != nil {
		return nil, st.start.after(st.text[:m[0]]), &syntaxError{
			"this is a policy template; templates are not supported", "write one policy for each principal or resource",
		}
	}
	if !strings.HasSuffix(st.code, ";") {
		return nil, st.start.after(st.text), &syntaxError{"the policy does not end", "end it with a semicolon; look for a string, comment or bracket that is not closed"}
	}
	list, err := cedar.NewPolicyListFromBytes("", []byte(st.text))
	switch {
	case err == nil && len(list) == 1:
		return list[0], st.start, nil
	case err == nil:
		return nil, st.start, &syntaxError{"there is no policy here", "remove it, or write permit (…) or forbid (…)"}
	}
	message := strings.TrimPrefix(err.Error(), "parser error: ")
	m := libraryError.FindStringSubmatch(message)
	if m == nil {
		return nil, st.start, &syntaxError{message, "the Cedar grammar is at https://docs.cedarpolicy.com/policies/syntax-grammar.html"}
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	message = m[4]
	if e := expected.FindStringSubmatch(message); e != nil {
		message = fmt.Sprintf("%q stands where %q is expected", e[1], e[2])
	}
	if m[3] != "" && m[3] != `""` {
		message += ", before " + m[3]
	}
	return nil, position{max(line, 1), max(column, 1)}.at(st.start), &syntaxError{message, "the Cedar grammar is at https://docs.cedarpolicy.com/policies/syntax-grammar.html"}
}
