package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
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
	seen := map[string]bool{}
	for _, i := range importsOfModule(t) {
		if i.test || seen[i.file] || i.path != modulePath+"/store" {
			continue
		}
		seen[i.file] = true
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join(moduleRoot, i.file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			of, ok := literal.Type.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := of.X.(*ast.Ident); !ok || pkg.Name != "store" || !slices.Contains(keptOfPeople, of.Sel.Name) {
				return true
			}
			if i.pkg == owner {
				made++
				return true
			}
			t.Errorf("%s:%d makes a store.%s; want %s to be the only package that does", i.file, files.Position(literal.Pos()).Line, of.Sel.Name, owner)
			return true
		})
	}
	if made == 0 {
		t.Fatalf("got no record that %s makes, want some: the test looks in the wrong place", owner)
	}
}
