// Failures looks for failures of tests that don't say what they wanted. Whoever reads the log of a red run has no debugger: the
// message alone has to tell what was got, what was wanted, and of what.
//
//	go run -C .ci ./failures
//
// A program can't judge a sentence, but it sees where there is none. A call of Error, Errorf, Fatal or Fatalf must hold two words
// in the string literals and constants of its message, besides verbs: "%+v" and "%s: %v" hold none, "got %v, want %v" holds enough. One
// message may do without: the error of an "if err != nil" directly around it, alone or with a name, because an unexpected error
// speaks for itself.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	if err := check("..", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "failures:", err)
		os.Exit(1)
	}
}

// check reads the tests below root, and the packages named …test that help them.
func check(root string, out io.Writer) error {
	calls, silent := 0, 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == ".git" || name == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go") && (!strings.HasSuffix(name, ".go") || !strings.HasSuffix(filepath.Dir(path), "test")):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		shown, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		n, found, err := judge(shown, text)
		for _, f := range found {
			fmt.Fprintln(out, f)
		}
		calls, silent = calls+n, silent+len(found)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of %d failures of tests say nothing\n", silent, calls)
	switch {
	case calls == 0:
		return errors.New("there are no tests to read")
	case silent > 0:
		return errors.New("say in words what was got, what was wanted, and of what")
	}
	return nil
}

// judge counts the failures of a file, and lists those that say nothing.
func judge(name string, text []byte) (calls int, found []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return 0, nil, err
	}
	constants := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.GenDecl); ok && c.Tok == token.CONST {
			for _, s := range c.Specs {
				if s := s.(*ast.ValueSpec); len(s.Values) == len(s.Names) {
					for i, name := range s.Names {
						constants[name.Name] = literals(s.Values[i:i+1], nil)
					}
				}
			}
		}
		return true
	})
	unexpected := map[*ast.CallExpr]string{} // calls directly inside of "if X != nil", and X
	ast.Inspect(file, func(n ast.Node) bool {
		if branch, ok := n.(*ast.IfStmt); ok {
			if x := notNil(branch.Cond); x != "" {
				for _, s := range branch.Body.List {
					if s, ok := s.(*ast.ExprStmt); ok {
						if call, ok := s.X.(*ast.CallExpr); ok {
							unexpected[call] = x
						}
					}
				}
			}
		}
		call, ok := n.(*ast.CallExpr)
		if !ok || !fails(call) {
			return true
		}
		calls++
		for _, a := range call.Args {
			if x, ok := a.(*ast.Ident); ok && x.Name == unexpected[call] {
				return true
			}
		}
		if said := literals(call.Args, constants); len(words(said)) < 2 {
			found = append(found, fmt.Sprintf("%s: the message %q has fewer than two words", set.Position(call.Pos()), said))
		}
		return true
	})
	return calls, found, nil
}

// fails knows a testing.TB by the names that they have everywhere: no types are loaded, so it takes a second.
func fails(call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	receiver, ok := method.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch receiver.Name {
	case "t", "tb", "b", "f":
	default:
		return false
	}
	switch method.Sel.Name {
	case "Error", "Errorf", "Fatal", "Fatalf":
		return len(call.Args) > 0 // or it is the text of an error
	}
	return false
}

// notNil returns the X of X != nil.
func notNil(condition ast.Expr) string {
	c, ok := condition.(*ast.BinaryExpr)
	if !ok || c.Op != token.NEQ {
		return ""
	}
	x, ok := c.X.(*ast.Ident)
	if null, isName := c.Y.(*ast.Ident); !ok || !isName || null.Name != "nil" {
		return ""
	}
	return x.Name
}

// literals joins the string literals of arguments, also of sums and of constants of the file, but not those inside of calls: they
// are no part of the message.
func literals(arguments []ast.Expr, constants map[string]string) string {
	var parts []string
	for _, a := range arguments {
		switch a := a.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(a.Value); a.Kind == token.STRING && err == nil {
				parts = append(parts, s)
			}
		case *ast.BinaryExpr:
			parts = append(parts, literals([]ast.Expr{a.X, a.Y}, constants))
		case *ast.Ident:
			parts = append(parts, constants[a.Name])
		case *ast.ParenExpr:
			parts = append(parts, literals([]ast.Expr{a.X}, constants))
		}
	}
	return strings.Join(parts, " ")
}

var (
	verb = regexp.MustCompile(`%[-+# 0]*(\[\d+\])?(\d+|\*)?(\.(\d+|\*)?)?(\[\d+\])?[a-zA-Z%]`)
	word = regexp.MustCompile(`\p{L}{2,}`)
)

func words(message string) []string {
	return word.FindAllString(verb.ReplaceAllString(message, " "), -1)
}
