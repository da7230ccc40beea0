package policy

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/strictyaml"
)

//go:embed idpsync.cedarschema
var schemaText string

// Schema returns the Cedar schema that policies are checked against.
func Schema() string { return schemaText }

// The entity types and actions of the schema.
const (
	typeTenant       cedar.EntityType = "Tenant"
	typeOrganization cedar.EntityType = "Organization"
	typeRole         cedar.EntityType = "Role"
	typeSource       cedar.EntityType = "Source"
	typeCredential   cedar.EntityType = "Credential"
	typeAttributes   cedar.EntityType = "Attributes"
	typeSourceKind   cedar.EntityType = "SourceKind"
	typeDoor         cedar.EntityType = "Door"
	typeShape        cedar.EntityType = "Shape"
	typeAuthProvider cedar.EntityType = "AuthProvider"
)

// members returns the members of a closed list of the schema.
func (s *schema) members(typ cedar.EntityType) []string {
	uids, _ := s.enum(typ)
	var ids []string
	for _, uid := range uids {
		ids = append(ids, string(uid.ID))
	}
	return ids
}

// A finding is what the schema has against a policy.
type finding struct {
	message string
	word    string // of the policy's text, to point at
	hint    string
}

// check returns all findings in a stable order.
func (s *schema) check(p *cedar.Policy) (out []finding) {
	defer func() {
		if r := recover(); r != nil {
			out = append(out, finding{message: fmt.Sprintf("the policy could not be checked: %v", r), hint: "write the condition more simply"})
		}
	}()
	parsed := treeOf(p)
	seen := map[string]bool{}
	for _, err := range flatten(s.validate(parsed)) {
		message := forAction.ReplaceAllString(err.Error(), "in the context")
		if seen[message] {
			continue
		}
		seen[message] = true
		word, hint := s.explain(message)
		out = append(out, finding{message: message, word: word, hint: hint})
	}
	for _, f := range s.lint(parsed) {
		if !seen[f.message] {
			seen[f.message] = true
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b finding) int { return strings.Compare(a.message, b.message) })
	return out
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// The library's messages, which have no types of their own.
var (
	forAction  = regexp.MustCompile(`in context for Action::"[A-Za-z]+"`) // each fault once, not once for each action
	inContext  = regexp.MustCompile("^attribute `([^`]+)` in the context not found")
	onEntity   = regexp.MustCompile("^attribute `([^`]+)` on entity types? `?([A-Za-z]+)")
	optional   = regexp.MustCompile("^unable to guarantee safety of access to optional attribute `([^`]+)` (in the context|on entity)")
	unsafeTag  = regexp.MustCompile("^unable to guarantee safety of access to tag")
	noType     = regexp.MustCompile("^unrecognized entity type `([^`]+)`")
	noAction   = regexp.MustCompile("^unrecognized action `([^`]+)`")
	mixedTypes = regexp.MustCompile("(not compatible|compatible types)")
)

// explain finds what to point at in the policy, and what to do about it.
func (s *schema) explain(message string) (word, hint string) {
	if m := inContext.FindStringSubmatch(message); m != nil {
		return last(m[1]), strictyaml.DidYouMean(last(m[1]), s.contextNames())
	}
	if m := onEntity.FindStringSubmatch(message); m != nil {
		if slices.Contains(s.attributeNames(typeRole), last(m[1])) {
			return last(m[1]), `only a Role has it; narrow the policy to action == Action::"GrantRole" or resource is Role`
		}
		return last(m[1]), strictyaml.DidYouMean(last(m[1]), s.attributeNames(cedar.EntityType(m[2])))
	}
	if m := optional.FindStringSubmatch(message); m != nil {
		owner := "context"
		if m[2] == "on entity" {
			owner = "resource"
		}
		return last(m[1]), fmt.Sprintf("it may be absent; ask first: %s has %s && …", owner, m[1])
	}
	if unsafeTag.MatchString(message) {
		return "getTag", "it may be absent; ask first: context.attributes.hasTag(\"…\") && …"
	}
	if m := noType.FindStringSubmatch(message); m != nil {
		return m[1], strictyaml.DidYouMean(m[1], s.typeNames())
	}
	if m := noAction.FindStringSubmatch(message); m != nil {
		return m[1], `the actions are Action::"CreateUser", Action::"LinkUser" and Action::"GrantRole"`
	}
	switch {
	case strings.Contains(message, "applicable action"):
		return "", "CreateUser is asked of a Tenant and GrantRole of a Role, by a Source or a Credential; LinkUser of a Tenant, by a Source"
	case mixedTypes.MatchString(message):
		return "", `closed lists are written as entities, as in context.door == Door::"http"; idpsync.cedarschema has all types`
	case strings.Contains(message, "non-literal"), strings.Contains(message, "duration value"):
		return "duration", `write the value itself, as in duration("7d")`
	default:
		return "", "idpsync.cedarschema has all names and types"
	}
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
