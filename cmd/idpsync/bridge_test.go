package main

import (
	"go/ast"
	"slices"
	"testing"
)

// keptOfPeople are the records of the store that say who may log in, and what they may do.
var keptOfPeople = []string{"User", "UserUpdate", "RoleGrant", "OrganizationGrant", "Identity"}

// TestOnlyTheRulesTurnProofsIntoRecords looks for the places at which records of people are made. What a source proved becomes
// what is kept in worker/rules alone, after a policy decision, so that no other package can let anybody in.
func TestOnlyTheRulesTurnProofsIntoRecords(t *testing.T) {
	const owner = "worker/rules"
	made := 0
	eachProductFile(t, func(f sourceFile) {
		ast.Inspect(f.File, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			of, ok := literal.Type.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if from, ok := of.X.(*ast.Ident); !ok || from.Name != "store" || !slices.Contains(keptOfPeople, of.Sel.Name) {
				return true
			}
			if f.pkg == owner {
				made++
				return true
			}
			t.Errorf("%s:%d makes a store.%s; want %s to be the only package that does", f.name, f.files.Position(literal.Pos()).Line, of.Sel.Name, owner)
			return true
		})
	})
	if made == 0 {
		t.Fatalf("got no record that %s makes, want some: the test looks in the wrong place", owner)
	}
}
