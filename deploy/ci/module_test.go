// Package ci holds the rules of this repository as tests: which package may
// import which, what the replicated state may not do, how long files and
// functions may grow, what has to be documented, and that generated code is
// current. It has no code of its own, only tests; check.sh runs them together
// with the other steps of the gate.
//
// A checker here is a function from sources or import lists to a list of
// faults, so that planted_test.go can hand each of them a fault on purpose and
// see it caught.
package ci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// modulePath is the name of this module, as in go.mod.
const modulePath = "lock_gulmd"

// listed is what `go list -json` says about one package.
type listed struct {
	ImportPath string
	Dir        string
	// Export is the file with the compiled package's types; "" if it does not
	// compile.
	Export  string
	GoFiles []string
}

// goList runs `go list -e -json` at the module root. Packages that do not
// compile are listed too: what is wrong with them is for the compiler to say.
func goList(root string, args ...string) ([]listed, error) {
	cmd := exec.Command("go", append([]string{"list", "-e"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, stderr.Bytes())
	}
	var all []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmd, err)
		}
		all = append(all, p)
	}
}

// sourceFile is one parsed Go file of the module.
type sourceFile struct {
	// name is the path below the module root, with slashes.
	name string
	// pkg is the directory part of name: the package's path in the module.
	pkg       string
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
}

// module is everything that the tests look at.
type module struct {
	root    string
	fset    *token.FileSet
	sources []sourceFile
}

// loadModule reads the module once for all tests.
var loadModule = sync.OnceValues(func() (*module, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOMOD: %w", err)
	}
	m := &module{root: filepath.Dir(strings.TrimSpace(string(out))), fset: token.NewFileSet()}
	err = m.walk(func(name, path string) error {
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parseSource(m.fset, name, path, nil)
		m.sources = append(m.sources, file)
		return err
	})
	return m, err
})

// theModule returns the module that this test belongs to.
func theModule(t *testing.T) *module {
	t.Helper()
	m, err := loadModule()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// walk calls f for every file of the module, with its slash path below the
// root and its path on disk. Test data and git's own files are left out.
func (m *module) walk(f func(name, path string) error) error {
	return filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(m.root, path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(name), path)
	})
}

// parseSource parses one file; src is as in [parser.ParseFile].
func parseSource(fset *token.FileSet, name, path string, src any) (sourceFile, error) {
	syntax, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return sourceFile{}, err
	}
	return sourceFile{
		name:      name,
		pkg:       strings.TrimSuffix(name[:strings.LastIndexByte(name, '/')+1], "/"),
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
		lines:     fset.File(syntax.FileStart).LineCount(),
		syntax:    syntax,
	}, nil
}

// importsOf returns the import paths of a file.
func importsOf(file *ast.File) []string {
	var paths []string
	for _, spec := range file.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// report turns faults into test errors, one each.
func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}
