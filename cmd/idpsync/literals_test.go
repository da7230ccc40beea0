package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// namesLikeSubjects are the first words of literals that begin as a subject does and are none, with reasons.
var namesLikeSubjects = map[string]string{
	"idpsync.db":          "the file of the embedded database",
	"idpsync.cedarschema": "the file of the policies' schema",
}

// eachProductFile parses every Go file of the product.
func eachProductFile(t *testing.T, see func(sourceFile)) {
	t.Helper()
	eachFile(t, parser.SkipObjectResolution, func(f sourceFile) {
		if !f.test {
			see(f)
		}
	})
}

// TestSubjectsAreWrittenInOnePackage looks for subjects that are written by hand. They come from the table of routes in
// worker/record, so that a new one is a row there. Test code may write them: it says what other programs rely on.
func TestSubjectsAreWrittenInOnePackage(t *testing.T) {
	const owner = "worker/record"
	own, used := 0, map[string]bool{}
	eachProductFile(t, func(f sourceFile) {
		if f.pkg == owner {
			own++
			return
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(literal.Value)
			if err != nil || !strings.HasPrefix(s, "idpsync.") {
				return true
			}
			first, _, _ := strings.Cut(s, " ")
			if _, ok := namesLikeSubjects[first]; ok {
				used[first] = true
				return true
			}
			t.Errorf("%s:%d has the literal %q; want subjects to come from %s", f.name, f.files.Position(literal.Pos()).Line, s, owner)
			return true
		})
	})
	if own == 0 {
		t.Fatalf("no file of %s was seen, want all of them: the test looks in the wrong place", owner)
	}
	for s, because := range namesLikeSubjects {
		if !used[s] {
			t.Errorf("the table namesLikeSubjects has %q (%s), which is written nowhere; want its row gone", s, because)
		}
	}
}
