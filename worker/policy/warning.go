package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

var existing = regexp.MustCompile(`\bexisting\b`)

// Warnings tells what an operator's policies may not do as they are meant: a forbid that names CreateUser alone is asked
// at repeat logins too, and is not asked when a login takes a user who is there already. Statements that Compile
// refuses are left out.
func Warnings(files []File) strictyaml.Faults {
	link := cedar.NewEntityUID("Action", "LinkUser")
	type lone struct {
		file string
		n    int
		st   statement
		id   string
	}
	var found []lone
	linking := false
	for _, f := range files {
		for n, st := range statements(f.Text) {
			p, _, fault := parse(st)
			if fault != nil || p.Effect() != cedar.Forbid {
				continue
			}
			switch actions, all := scopeActions(p); {
			case all:
			case len(actions) == 1 && actions[0] == actionOf(record.ActionCreate):
				id := string(p.Annotations()["id"])
				if id == "" {
					id = fmt.Sprintf("%s:%d", f.Name, n+1)
				}
				found = append(found, lone{f.Name, n, st, id})
			case applies(p, link):
				linking = true
			}
		}
	}
	var out strictyaml.Faults
	for _, l := range found {
		var what, hints []string
		if !existing.MatchString(l.st.code) {
			what = append(what, "repeat logins ask CreateUser too, with context.existing")
			hints = append(hints, "add !context.existing when only new users are meant")
		}
		if !linking {
			what = append(what, "a login that takes a user who is there already is asked as LinkUser, which no forbid names")
			hints = append(hints, `write action in [Action::"CreateUser", Action::"LinkUser"] to forbid both`)
		}
		if len(what) == 0 {
			continue
		}
		out = append(out, strictyaml.Fault{
			File: l.file, Line: l.st.start.line, Column: l.st.start.column,
			Message: fmt.Sprintf("the forbid %q names CreateUser alone: %s", l.id, strings.Join(what, "; ")), Hint: strings.Join(hints, "; "),
		})
	}
	return out
}
