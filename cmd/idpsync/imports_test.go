package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/idpsync/idpsync"
	moduleRoot = "../.."
)

// An arrow says what one package may import of this module, and why no more.
type arrow struct {
	pkg     string
	may     []string // "*" is everything
	because string
}

// arrows lists the packages of this module and which others each may import. Packages whose name ends in test are not
// listed: they may import anything, and only tests import them.
var arrows = []arrow{
	{"cmd/idpsync", []string{"*"}, "it wires; nobody can import it"},
	{"cmd/idpsync/kit", []string{"providers/oidc/issuer", "worker/record", "worker/stream"}, "what the verbs and the packages beside it say alike; it runs no worker"},
	{"cmd/idpsync/serve", []string{"cmd/idpsync/kit", "providers", "worker", "worker/assemble", "worker/directory", "worker/gap", "worker/httpapi", "worker/record", "worker/share", "worker/stream"}, "the front doors of a worker that was put together elsewhere"},
	{"cmd/idpsync/demo", []string{
		"cmd/idpsync/kit", "cmd/idpsync/serve", "providers", "providers/oidc/issuer", "providers/saml/idp", "providers/seal", "store",
		"worker/assemble", "worker/directory/manifest", "worker/record", "worker/stream",
	}, "a world around one worker, which it sees from outside and by its declaration"},
	{"cmd/idpsync/bench", []string{"cmd/idpsync/kit", "providers", "providers/oidc/issuer", "store", "worker/assemble", "worker/clock", "worker/directory/manifest", "worker/record", "worker/stream"}, "measures a worker in another process, through the broker"},
	{"worker", []string{"providers", "providers/wire", "store", "worker/clock", "worker/directory", "worker/gate", "worker/original", "worker/outage", "worker/poison", "worker/record", "worker/retention", "worker/rules", "worker/share"}, "the pipeline; what it decides, and in which form that is kept, is said below it"},
	{"worker/assemble", []string{
		"providers", "providers/command", "providers/feed", "providers/oidc", "providers/saml", "providers/seal", "store",
		"worker", "worker/clock", "worker/directory", "worker/directory/manifest", "worker/gap", "worker/policy", "worker/stream",
	}, "the one composition root, of the command, the tests and the chaos runs; it alone knows all kinds of providers"},
	{"worker/clock", nil, "compares clocks and lets loops tick, and knows nothing of whose they are"},
	{"worker/poison", []string{"store", "worker/record"}, "evidence of crashes; what an event is and what becomes of it is the pipeline's business"},
	{"worker/fault", []string{"providers", "store", "worker", "worker/assemble", "worker/record"}, "goes around the parts of a worker from outside, for tests and chaos runs; the binary does not hold it"},
	{"worker/record", []string{"providers", "providers/wire", "store"}, "every format that leaves a worker is written and read by one type"},
	{"worker/rules", []string{"providers", "providers/wire", "store", "worker/record", "worker/rules/confusable"}, "the only bridge between what was proved and what is kept; it does no I/O"},
	{"worker/rules/confusable", nil, "compares names as they look, and knows nothing of whose they are"},
	{"worker/directory", []string{"providers", "providers/wire", "store", "worker/clock", "worker/rules"}, "what was declared, in memory, with a provider for each source"},
	{"worker/directory/manifest", []string{"providers", "providers/mapping", "store", "worker/directory", "worker/rules", "worker/strictyaml"}, "a declaration is checked with the code that will run it"},
	{"worker/strictyaml", nil, "reads a format, and knows nothing of what is written in it"},
	{"worker/original", []string{"worker/record"}, "reads what another domain stored, and knows nothing of what it is for"},
	{"worker/policy", []string{"providers", "worker", "worker/record", "worker/strictyaml"}, "implements a contract of worker; policy cases are strict YAML"},
	{"worker/gate", []string{"worker/clock", "worker/record"}, "knows a stream that refuses, and not what the messages are"},
	{"worker/outage", []string{"store", "worker/clock"}, "knows that the database is away, and not what waits for it"},
	{"worker/retention", []string{"store", "worker/clock"}, "deletes what is old, and decides nothing"},
	{"worker/share", nil, "divides amounts, and knows nothing of what they are"},
	{"worker/stream", []string{"providers", "worker", "worker/clock", "worker/record", "worker/retention", "worker/share"}, "implements the contracts of worker over JetStream"},
	{"worker/proof", []string{"store", "worker/record", "worker/stream"}, "proves by what broker and database hold, and so must not know what a worker does"},
	{"worker/gap", []string{"store", "worker/record", "worker/stream"}, "compares what broker and database hold, and so must not know what a worker does"},
	{"worker/replay", []string{"store", "worker/clock", "worker/record"}, "sends orders and watches states; whoever carries them out may import it"},
	{"worker/httpapi", []string{"providers", "worker", "worker/record", "worker/share"}, "a front door submits to worker and stores nothing itself"},
	{"providers", nil, "the contract of every provider; a leaf, so that nothing unverified can reach the store through it"},
	{"providers/keyring", []string{"providers"}, "decides what is known of keys, and knows neither tokens nor assertions"},
	{"providers/wire", []string{"providers"}, "reads documents into the words of the contract"},
	{"providers/mapping", []string{"providers"}, "maps claims into the words of the contract"},
	{"providers/oidc", []string{"providers", "providers/keyring", "providers/wire", "providers/mapping"}, "providers never see each other, nor the store"},
	{"providers/saml", []string{"providers", "providers/keyring", "providers/wire", "providers/mapping"}, "providers never see each other, nor the store"},
	{"providers/command", []string{"providers", "providers/wire", "providers/mapping"}, "providers never see each other, nor the store"},
	{"providers/feed", []string{"providers", "providers/wire", "providers/mapping"}, "providers never see each other, nor the store"},
	{"providers/seal", nil, "encrypts and signs bytes, and knows nothing of what they mean"},
	{"providers/oidc/issuer", nil, "an issuer that shared code with its verifier would share its mistakes"},
	{"providers/saml/idp", nil, "an IdP that shared code with its verifier would share its mistakes"},
	{"store", nil, "a leaf: SQL knows records, not sources or policies"},
}

// A fence says which packages may import a foreign module, and why no others.
type fence struct {
	module  string
	only    []string
	because string
}

// fences lists the foreign modules and where product code may import them. Tests may use what they like.
var fences = []fence{
	{"github.com/nats-io/nats.go", []string{"worker/stream"}, "the pipeline is tested and read without a broker"},
	{"github.com/nats-io/nats-server/v2", []string{"worker/stream"}, "the embedded broker is one way to have a broker"},
	{"github.com/nats-io/nkeys", []string{"providers/seal"}, "one package encrypts and signs"},
	{"github.com/cedar-policy/cedar-go", []string{"worker/policy"}, "one package decides, and denies when a policy errs"},
	{"github.com/jmoiron/sqlx", []string{"store"}, "one package writes SQL"},
	{"github.com/lib/pq", []string{"store"}, "the two databases differ in one package"},
	{"modernc.org/sqlite", []string{"store"}, "the two databases differ in one package"},
	{"github.com/pressly/goose/v3", []string{"store"}, "migrations belong to the tables"},
	{"github.com/coreos/go-oidc/v3", []string{"providers/oidc"}, "OpenID Connect is one provider"},
	{"github.com/go-jose/go-jose/v4", []string{"providers/oidc", "providers/oidc/issuer"}, "JOSE is read in one place and signed in one place"},
	{"github.com/crewjam/saml", []string{"providers/saml"}, "SAML is one provider"},
	{"github.com/beevik/etree", []string{"providers/saml", "providers/saml/idp"}, "XML is read in one place and written in one place"},
	{"github.com/russellhaering/goxmldsig", []string{"providers/saml", "providers/saml/idp"}, "XML-DSig is verified in one place and signed in one place"},
	{"cel.dev/cel-go", []string{"providers/mapping"}, "expressions are compiled with one set of limits"},
	{"github.com/go-json-experiment/json", []string{"providers/wire"}, "strictness is decided once"},
	{"github.com/goccy/go-yaml", []string{"worker/strictyaml"}, "strictness is decided once"},
	{"github.com/google/uuid", []string{"cmd/idpsync", "cmd/idpsync/bench", "store", "worker", "worker/directory/manifest"}, "ids are made where records are made"},
	{"github.com/spf13/cobra", []string{"cmd/idpsync"}, "flags are the command's business"},
	{"github.com/prometheus/client_golang", []string{"cmd/idpsync/serve"}, "the pipeline counts through a contract of its own"},
	{"golang.org/x/term", []string{"cmd/idpsync"}, "terminals are the command's business"},
	{"golang.org/x/crypto", []string{"worker/rules", "worker/stream"}, "password hashes: those of users, and that of the embedded broker's own user"},
	{"golang.org/x/image", []string{"worker/rules"}, "an avatar must be the image that it says it is"},
	{"golang.org/x/net", []string{"worker/rules"}, "e-mail domains are compared in IDNA form"},
	{"golang.org/x/text", []string{"worker/rules", "worker/rules/confusable"}, "names and addresses are compared in NFC, folded, and as they look"},
}

// An experiment says which file may import the experimental packages of a foreign module, and why no other.
type experiment struct {
	module  string
	file    string
	because string
}

// experiments lists the foreign modules whose experimental packages, those with x/exp in their path, are imported, and by
// which file. It binds tests too: they break with the same release.
var experiments = []experiment{
	{"github.com/cedar-policy/cedar-go", "worker/policy/experimental.go", "any release of the library may change them, and then one file is to be changed"},
}

// imported is one import of a file of this module.
type imported struct {
	pkg, file, path string
	test            bool // by a test file or a test package
}

// A sourceFile is one Go file of this module.
type sourceFile struct {
	name, pkg string // from the root of the module
	test      bool   // a test file, or of a test package
	files     *token.FileSet
	*ast.File
}

// eachFile parses every Go file of the module, whatever its build constraints.
func eachFile(t *testing.T, mode parser.Mode, see func(sourceFile)) {
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
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, mode)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(moduleRoot, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		pkg := filepath.ToSlash(filepath.Dir(rel))
		see(sourceFile{name: rel, pkg: pkg, test: strings.HasSuffix(name, "_test.go") || isTestPackage(pkg), files: files, File: file})
		return nil
	})
	if err != nil {
		t.Fatalf("read the files of the module: %v", err)
	}
}

// importsOfModule returns the imports of every file.
func importsOfModule(t *testing.T) []imported {
	t.Helper()
	var all []imported
	eachFile(t, parser.ImportsOnly, func(f sourceFile) {
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s imports %s: %v", f.name, spec.Path.Value, err)
			}
			all = append(all, imported{pkg: f.pkg, file: f.name, path: p, test: f.test})
		}
	})
	if len(all) == 0 {
		t.Fatal("no imports found: the test looks in the wrong place")
	}
	return all
}

func isTestPackage(pkg string) bool { return strings.HasSuffix(pkg, "test") }

func within(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

func TestPackagesImportOnlyWhatTheirPlaceAllows(t *testing.T) {
	packages := map[string]bool{}
	for _, i := range importsOfModule(t) {
		packages[i.pkg] = true
		target, ours := strings.CutPrefix(i.path, modulePath+"/")
		if !ours || i.test {
			continue
		}
		if isTestPackage(target) {
			t.Errorf("%s imports %s, which only tests may import", i.file, target)
			continue
		}
		for _, a := range arrows {
			if a.pkg == i.pkg && !slices.Contains(a.may, "*") && !slices.Contains(a.may, target) {
				t.Errorf("%s imports %s; %s may import %q, because: %s", i.file, target, a.pkg, a.may, a.because)
			}
		}
	}
	for pkg := range packages {
		if !isTestPackage(pkg) && !slices.ContainsFunc(arrows, func(a arrow) bool { return a.pkg == pkg }) {
			t.Errorf("package %s has no row in the table arrows: say what it may import, and why", pkg)
		}
	}
	for _, a := range arrows {
		for _, pkg := range append([]string{a.pkg}, a.may...) {
			if pkg != "*" && !packages[pkg] {
				t.Errorf("the row of %s in the table arrows names %s, which does not exist", a.pkg, pkg)
			}
		}
	}
}

func TestForeignModulesStayInsideTheirFences(t *testing.T) {
	used := map[string]bool{}
	for _, i := range importsOfModule(t) {
		first, _, _ := strings.Cut(i.path, "/")
		if i.test || !strings.Contains(first, ".") || within(i.path, modulePath) {
			continue
		}
		fenced := false
		for _, f := range fences {
			if !within(i.path, f.module) {
				continue
			}
			fenced = true
			if !slices.Contains(f.only, i.pkg) {
				t.Errorf("%s imports %s, which belongs into %q, because: %s", i.file, i.path, f.only, f.because)
			}
			used[f.module+" "+i.pkg] = true
		}
		if !fenced {
			t.Errorf("%s imports %s, which has no row in the table fences: say where it belongs, and why", i.file, i.path)
		}
	}
	for _, f := range fences {
		for _, pkg := range f.only {
			if !used[f.module+" "+pkg] {
				t.Errorf("the table fences lets %s import %s, which it does not do", pkg, f.module)
			}
		}
	}
}

func TestExperimentalPackagesAreImportedByOneFile(t *testing.T) {
	used := map[string]bool{}
	for _, i := range importsOfModule(t) {
		if !isExperimental(i.path) {
			continue
		}
		row := slices.IndexFunc(experiments, func(e experiment) bool { return within(i.path, e.module) })
		if row < 0 {
			t.Errorf("%s imports %s, which is experimental and has no row in the table experiments: say which file needs it, and why", i.file, i.path)
			continue
		}
		e := experiments[row]
		used[e.module] = used[e.module] || i.file == e.file
		if i.file != e.file {
			t.Errorf("%s imports %s, which belongs into %s alone, because: %s", i.file, i.path, e.file, e.because)
		}
	}
	for _, e := range experiments {
		if !used[e.module] {
			t.Errorf("the table experiments lets %s import experimental packages of %s, which it does not do", e.file, e.module)
		}
	}
}

// isExperimental reports whether a path is of golang.org/x/exp or has the x/exp of another module in it.
func isExperimental(path string) bool {
	return !within(path, modulePath) && strings.Contains(path+"/", "/x/exp/")
}

func TestBinaryHoldsNothingOfTesting(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, modulePath+"/worker") {
		t.Fatal("go list does not know the worker: the test looks in the wrong place")
	}
	for _, dep := range deps {
		if own, ok := strings.CutPrefix(dep, modulePath+"/"); within(dep, "testing") || ok && (isTestPackage(own) || own == "worker/fault") {
			t.Errorf("the binary holds %s; go list -deps shows by which way", dep)
		}
	}
}

func TestTopLevelHoldsOnlyTheAgreedFolders(t *testing.T) {
	agreed := []string{"cmd", "worker", "providers", "store", "deploy", ".ci"}
	for _, folder := range topLevelFolders(t) {
		if !slices.Contains(agreed, folder) {
			t.Errorf("folder %s: the top level holds %q and files, so that a newcomer finds each thing in the one place it can be", folder, agreed)
		}
	}
}

// topLevelFolders returns the folders that are committed, or all of them in a copy without a repository.
func topLevelFolders(t *testing.T) []string {
	t.Helper()
	var folders []string
	if _, err := os.Stat(filepath.Join(moduleRoot, ".git")); err != nil {
		entries, err := os.ReadDir(moduleRoot)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, e.Name())
			}
		}
		return folders
	}
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z")
	cmd.Dir = moduleRoot
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range bytes.SplitSeq(out, []byte{0}) {
		if folder, _, ok := strings.Cut(string(name), "/"); ok && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	if len(folders) == 0 {
		t.Fatal("git lists no files: the test looks in the wrong place")
	}
	return folders
}
