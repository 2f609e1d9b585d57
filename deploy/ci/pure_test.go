package ci

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// purePackages make up the replicated state. Every server applies the same
// commands to its own copy, so nothing in them may depend on anything else: no
// clock, no random number, no goroutine, no order of a map, no rounding.
var purePackages = []string{"server/reason", "server/lock", "server/member", "server/journal", "server/state"}

// pureImports is all of the standard library that they may use.
var pureImports = []string{
	"cmp", "encoding/binary", "errors", "fmt", "hash/crc32", "hash/fnv", "iter", "maps", "math", "math/bits",
	"slices", "sort", "strconv", "strings", "unicode/utf8",
}

// pureMaps are the functions of package maps that show no order. Keys is
// beside them, but only as the argument of slices.Sorted or slices.SortedFunc.
var pureMaps = []string{"Clone", "Copy", "Equal"}

func TestPure(t *testing.T) {
	m := theModule(t)
	var faults []string
	for _, tags := range []string{"", "invariants"} {
		more, err := checkPurePackages(m.root, tags)
		if err != nil {
			t.Fatal(err)
		}
		faults = append(faults, more...)
	}
	report(t, sorted(faults))
}

// checkPurePackages type-checks the pure packages that exist, built with the
// given tags, and returns their faults.
func checkPurePackages(root, tags string) ([]string, error) {
	args := []string{"-deps", "-export", "-tags=" + tags, "-json=ImportPath,Dir,Export,GoFiles"}
	for _, pkg := range purePackages {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(pkg))); err == nil {
			args = append(args, "./"+pkg)
		}
	}
	if args[len(args)-1][0] == '-' {
		return nil, nil // none of them is there yet
	}
	all, err := goList(root, args...)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	imp := exportImporter(fset, exports)
	var faults []string
	for _, p := range all {
		inner, ok := inModule(p.ImportPath)
		if !ok || !slices.Contains(purePackages, inner) || len(p.GoFiles) == 0 {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parseSource(fset, inner+"/"+name, filepath.Join(p.Dir, name), nil)
			if err != nil {
				return nil, err
			}
			files = append(files, file.syntax)
		}
		faults = append(faults, checkPure(p.ImportPath, fset, files, imp)...)
	}
	return faults, nil
}

// exportImporter imports packages from the export data that go list built.
func exportImporter(fset *token.FileSet, exports map[string]string) types.Importer {
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s does not compile", path)
		}
		return os.Open(exports[path])
	})
}

// pureCheck looks at one package.
type pureCheck struct {
	fset   *token.FileSet
	info   *types.Info
	sorted map[*ast.CallExpr]bool // calls whose result goes straight into slices.Sorted
	faults []string
}

// checkPure returns what in the files of one package could make two replicas
// differ. A package that does not type-check is a fault too, since nothing can
// be said about it.
func checkPure(path string, fset *token.FileSet, files []*ast.File, imp types.Importer) []string {
	c := &pureCheck{
		fset: fset,
		info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{},
			Uses:  map[*ast.Ident]types.Object{},
			Defs:  map[*ast.Ident]types.Object{},
		},
		sorted: map[*ast.CallExpr]bool{},
	}
	for _, file := range files {
		c.imports(file)
	}
	conf := types.Config{Importer: imp, Error: func(err error) { c.faults = append(c.faults, err.Error()) }}
	if _, err := conf.Check(path, fset, files, c.info); err != nil {
		return c.faults
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			c.decl(decl)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				c.node(n)
			}
			return true
		})
	}
	return slices.Compact(c.faults)
}

func (c *pureCheck) fault(n ast.Node, format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("%s: %s", c.fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
}

// imports finds imports that are not allowed.
func (c *pureCheck) imports(file *ast.File) {
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, "\"`")
		inner, ok := inModule(path)
		if ok && slices.Contains(purePackages, inner) || slices.Contains(pureImports, path) {
			if spec.Name != nil && spec.Name.Name == "." {
				c.fault(spec, "dot import of %s", path)
			}
			continue
		}
		c.fault(spec, "a pure package may not import %s", path)
	}
}

// decl finds init functions and package-level variables that are neither an
// error nor a table.
func (c *pureCheck) decl(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.Name == "init" {
			c.fault(d, "init function")
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR {
			return
		}
		for _, spec := range d.Specs {
			c.packageVar(spec.(*ast.ValueSpec))
		}
	}
}

func (c *pureCheck) packageVar(spec *ast.ValueSpec) {
	for i, name := range spec.Names {
		switch {
		case name.Name == "_":
			// an assertion such as `var _ fmt.Stringer = Mode(0)` keeps nothing
		case len(spec.Values) != len(spec.Names):
			c.fault(name, "package variable %s is neither an error nor a table", name.Name)
		case !c.isError(spec.Values[i]) && !c.isTable(spec.Values[i]):
			c.fault(name, "package variable %s is neither an error nor a table", name.Name)
		}
	}
}

// isError says whether e is errors.New(...).
func (c *pureCheck) isError(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && c.isFunc(call.Fun, "errors", "New")
}

// isTable says whether e is a composite literal that calls nothing but
// conversions and errors.New: what is written there is all there is.
func (c *pureCheck) isTable(e ast.Expr) bool {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return false
	}
	pure := true
	ast.Inspect(lit, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false // a function in a table is checked as code
		case *ast.CallExpr:
			if !c.info.Types[n.Fun].IsType() && c.info.Types[n].Value == nil && !c.isError(n) {
				pure = false
			}
		}
		return true
	})
	return pure
}

// node finds what is forbidden anywhere in the code.
func (c *pureCheck) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.fault(n, "go statement")
	case *ast.SelectStmt:
		c.fault(n, "select statement")
	case *ast.RangeStmt:
		c.rangeOver(n)
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			c.assigned(left)
		}
	case *ast.IncDecStmt:
		c.assigned(n.X)
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			c.assigned(n.X)
		}
	case *ast.CallExpr:
		c.call(n)
	case *ast.SelectorExpr:
		c.mapsFunc(n)
	}
	if e, ok := n.(ast.Expr); ok {
		c.exprType(e)
	}
}

// rangeOver finds loops in the order of a map.
func (c *pureCheck) rangeOver(n *ast.RangeStmt) {
	for _, t := range coreTypes(c.info.TypeOf(n.X)) {
		if _, ok := t.(*types.Map); ok {
			c.fault(n, "range over a map: the order differs from run to run; use slices.Sorted(maps.Keys(m))")
			return
		}
	}
}

// coreTypes returns the underlying type of t or, for a type parameter, those
// of its type set.
func coreTypes(t types.Type) []types.Type {
	param, ok := types.Unalias(t).(*types.TypeParam)
	if !ok {
		return []types.Type{t.Underlying()}
	}
	var all []types.Type
	constraint := param.Constraint().Underlying().(*types.Interface)
	for i := range constraint.NumEmbeddeds() {
		union, ok := constraint.EmbeddedType(i).(*types.Union)
		if !ok {
			all = append(all, constraint.EmbeddedType(i).Underlying())
			continue
		}
		for j := range union.Len() {
			all = append(all, union.Term(j).Type().Underlying())
		}
	}
	return all
}

// assigned finds package variables that change: e is assigned to, or its
// address is taken.
func (c *pureCheck) assigned(e ast.Expr) {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.Ident:
			v, ok := c.info.Uses[x].(*types.Var)
			if ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				c.fault(x, "package variable %s is changed or its address taken", x.Name)
			}
			return
		default:
			return
		}
	}
}

// call notes the map keys that are sorted at once, and finds clear and delete
// on a package variable.
func (c *pureCheck) call(call *ast.CallExpr) {
	if len(call.Args) == 0 {
		return
	}
	if c.isFunc(call.Fun, "slices", "Sorted") || c.isFunc(call.Fun, "slices", "SortedFunc") {
		if inner, ok := call.Args[0].(*ast.CallExpr); ok {
			c.sorted[inner] = true // ast.Inspect comes to the inner call later
		}
	}
	if c.isFunc(call.Fun, "maps", "Keys") && !c.sorted[call] {
		c.fault(call, "maps.Keys outside slices.Sorted: the order differs from run to run")
	}
	if id, ok := call.Fun.(*ast.Ident); ok {
		if b, ok := c.info.Uses[id].(*types.Builtin); ok && (b.Name() == "clear" || b.Name() == "delete") {
			c.assigned(call.Args[0])
		}
	}
}

// mapsFunc finds the functions of package maps that show the order of a map.
func (c *pureCheck) mapsFunc(sel *ast.SelectorExpr) {
	f, ok := c.info.Uses[sel.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != "maps" || f.Name() == "Keys" {
		return // Keys is seen as a call
	}
	if !slices.Contains(pureMaps, f.Name()) {
		c.fault(sel, "maps.%s shows the order of a map, which differs from run to run", f.Name())
	}
}

// exprType finds floating point numbers and channels by their types.
func (c *pureCheck) exprType(e ast.Expr) {
	tv, ok := c.info.Types[e]
	if !ok || tv.Type == nil {
		return
	}
	for _, t := range coreTypes(tv.Type) {
		switch t := t.(type) {
		case *types.Chan:
			c.fault(e, "channel")
		case *types.Basic:
			if t.Info()&(types.IsFloat|types.IsComplex) != 0 {
				c.fault(e, "floating point: use whole numbers")
			}
		}
	}
	if lit, ok := e.(*ast.BasicLit); ok && tv.Value != nil && tv.Value.Kind() == constant.Float {
		c.fault(lit, "floating point literal: use whole numbers")
	}
}

// isFunc says whether e names the function pkg.name, instantiated or not.
func (c *pureCheck) isFunc(e ast.Expr, pkg, name string) bool {
	switch x := e.(type) {
	case *ast.IndexExpr:
		e = x.X
	case *ast.IndexListExpr:
		e = x.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	f, ok := c.info.Uses[sel.Sel].(*types.Func)
	return ok && f.Pkg() != nil && f.Pkg().Path() == pkg && f.Name() == name
}
