package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// namesLikeSubjects are the first words of literals that begin as a subject does and are none, with reasons.
var namesLikeSubjects = map[string]string{
	"idpsync.db":          "the file of the embedded database",
	"idpsync.cedarschema": "the file of the policies' schema",
}

// eachProductFile parses every Go file of the product, whatever its build constraints.
func eachProductFile(t *testing.T, see func(name, pkg string, files *token.FileSet, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(moduleRoot, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || name != moduleRoot && strings.HasPrefix(base, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(moduleRoot, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		pkg := filepath.ToSlash(filepath.Dir(rel))
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || isTestPackage(pkg) {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		see(rel, pkg, files, file)
		return nil
	})
	if err != nil {
		t.Fatalf("read the files of the product: %v", err)
	}
}

// TestSubjectsAreWrittenInOnePackage looks for subjects that are written by hand. They come from the table of routes in
// worker/record, so that a new one is a row there. Test code may write them: it says what other programs rely on.
func TestSubjectsAreWrittenInOnePackage(t *testing.T) {
	const owner = "worker/record"
	own, used := 0, map[string]bool{}
	eachProductFile(t, func(name, pkg string, files *token.FileSet, file *ast.File) {
		if pkg == owner {
			own++
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
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
			t.Errorf("%s:%d has the literal %q; want subjects to come from %s", name, files.Position(literal.Pos()).Line, s, owner)
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
