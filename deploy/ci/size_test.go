package ci

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// Limits in lines.
const (
	maxFileLines = 500
	maxFuncLines = 60
)

// longer lists what may be longer, with its own limit and the reason. A key is
// a file ("server/lock/grant.go") or a function of it ("server/lock/grant.go:grant").
var longer = map[string]struct {
	lines  int
	reason string
}{}

func TestSize(t *testing.T) {
	m := theModule(t)
	limit := func(key string, usual int) int {
		if l, ok := longer[key]; ok {
			return l.lines
		}
		return usual
	}
	report(t, checkSize(m.fset, m.sources, limit))
}

func TestSize_exceptionsAreNeeded(t *testing.T) {
	m := theModule(t)
	usual := checkSize(m.fset, m.sources, func(_ string, usual int) int { return usual })
	for key, l := range longer {
		if l.reason == "" {
			t.Errorf("%s: the exception gives no reason", key)
		}
		if !slices.ContainsFunc(usual, func(fault string) bool { return strings.HasPrefix(fault, key+": ") }) {
			t.Errorf("%s: needs no exception any more", key)
		}
	}
}

func TestDocumented(t *testing.T) {
	m := theModule(t)
	report(t, checkDocumented(m.fset, m.sources))
}

// checkSize returns the files and functions that are longer than limit says.
// Tests and generated code may be of any length.
func checkSize(fset *token.FileSet, files []sourceFile, limit func(key string, usual int) int) []string {
	var faults []string
	for _, file := range files {
		if file.test || file.generated {
			continue
		}
		if most := limit(file.name, maxFileLines); file.lines > most {
			faults = append(faults, fmt.Sprintf("%s: %d lines, at most %d: split it", file.name, file.lines, most))
		}
		for _, decl := range file.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			key := file.name + ":" + fn.Name.Name
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			if most := limit(key, maxFuncLines); lines > most {
				faults = append(faults, fmt.Sprintf("%s: %d lines, at most %d: split it", key, lines, most))
			}
		}
	}
	return faults
}

// checkDocumented returns packages without a package comment and exported
// names without a doc comment. Names in main packages and tests need none.
func checkDocumented(fset *token.FileSet, files []sourceFile) []string {
	var faults []string
	documented := map[string]bool{}
	onlyTests := map[string]bool{}
	var packages []string
	for _, file := range files {
		if _, ok := onlyTests[file.pkg]; !ok {
			packages = append(packages, file.pkg)
			onlyTests[file.pkg] = true
		}
		if !file.test {
			onlyTests[file.pkg] = false
		}
	}
	for _, file := range files {
		if file.syntax.Doc.Text() != "" && file.test == onlyTests[file.pkg] {
			documented[file.pkg] = true
		}
		if file.test || file.generated || file.syntax.Name.Name == "main" {
			continue
		}
		for _, decl := range file.syntax.Decls {
			for _, name := range undocumented(decl) {
				faults = append(faults, fmt.Sprintf("%s:%d: exported %s has no doc comment that starts with its name",
					file.name, fset.Position(name.Pos()).Line, name.Name))
			}
		}
	}
	for _, pkg := range packages {
		if !documented[pkg] && !generatedPackage(files, pkg) {
			faults = append(faults, fmt.Sprintf("%s: the package has no package comment", pkg))
		}
	}
	return faults
}

// generatedPackage says whether a package is all generated code but for tests:
// its comment is in its source.
func generatedPackage(files []sourceFile, pkg string) bool {
	generated := false
	for _, f := range files {
		if f.pkg != pkg || f.test {
			continue
		}
		if !f.generated {
			return false
		}
		generated = true
	}
	return generated
}

// undocumented returns the exported names of a declaration that lack a comment.
func undocumented(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && exportedReceiver(d) && !startsWith(d.Doc, d.Name.Name) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range d.Specs {
			names = append(names, undocumentedSpec(d, spec)...)
		}
		return names
	}
	return nil
}

// undocumentedSpec does it for one type, or one line of constants or
// variables. A line in a group may also have its comment at its end, or share
// the one of the group.
func undocumentedSpec(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		doc := s.Doc
		if !d.Lparen.IsValid() {
			doc = d.Doc
		}
		if s.Name.IsExported() && !startsWith(doc, s.Name.Name) {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if s.Doc.Text() != "" || s.Comment.Text() != "" || d.Doc.Text() != "" {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(s.Names), func(n *ast.Ident) bool { return !n.IsExported() })
	}
	return nil
}

// exportedReceiver says whether a function is no method, or one of an exported
// type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// startsWith says whether a doc comment starts with the name, after an article
// if there is one, as go doc shows it best.
func startsWith(doc *ast.CommentGroup, name string) bool {
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	if len(words) < 2 {
		return false
	}
	rest, ok := strings.CutPrefix(words[0], name)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], ",'’:(["))
}
