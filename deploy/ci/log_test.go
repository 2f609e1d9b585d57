package ci

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// logKeysDocument has the one list of keys that log lines may carry: the table
// below logKeysHeading. Operators search by these, so a key means one thing.
const (
	logKeysDocument = "deploy/docs/operations.md"
	logKeysHeading  = "### Keys of log lines"
)

// reservedKeys are in the table although nothing logs them at present: who logs
// such a thing later is to use these names.
var reservedKeys = []string{"resource", "mode"}

// freeLogs are the functions that may log a message or key that is no constant
// of theirs, with the reason.
var freeLogs = map[string]string{
	"server/replica/hclog.go:Log": "passes on what the raft library logs",
	"server/master/note.go:Note":  "the messages are the table of server/journal/note.go",
}

// messageAt says which argument of a method of *slog.Logger is the message; -1
// for none. The keys and values follow it.
var messageAt = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log": 2, "LogAttrs": 2, "With": -1,
}

func TestLogs(t *testing.T) {
	m := theModule(t)
	keys, err := documentedKeys(m.root)
	if err != nil {
		t.Fatal(err)
	}
	c := &logCheck{keys: keys, free: freeLogs, used: map[string]bool{}}
	if err := c.module(m.root); err != nil {
		t.Fatal(err)
	}
	report(t, sorted(c.faults))
	for key := range keys {
		if !c.used[key] && !slices.Contains(reservedKeys, key) {
			t.Errorf("%s: nothing logs the key %q: take it out of the table", logKeysDocument, key)
		}
	}
	for name := range c.free {
		if !c.used[name] {
			t.Errorf("%s: needs no exception any more", name)
		}
	}
}

// documentedKeys reads the table of keys.
func documentedKeys(root string) (map[string]bool, error) {
	text, err := os.ReadFile(filepath.Join(root, logKeysDocument))
	if err != nil {
		return nil, err
	}
	_, section, ok := strings.Cut(string(text), logKeysHeading+"\n")
	if !ok {
		return nil, fmt.Errorf("%s has no section %q", logKeysDocument, logKeysHeading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	keys := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			keys[word[1]] = true
		}
	}
	return keys, nil
}

// logCheck looks at what is logged.
type logCheck struct {
	keys map[string]bool
	free map[string]string
	// used are the keys and the exceptions that were met.
	used   map[string]bool
	faults []string

	fset *token.FileSet
	info *types.Info
	name string // of the function at hand, as in freeLogs
	// wrappers are functions that log a parameter as the message, with its place:
	// so their callers have to give a constant.
	wrappers map[*types.Func]int
}

// module checks all packages of the module but tests and their kits.
func (c *logCheck) module(root string) error {
	all, err := goList(root, "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles", "./...")
	if err != nil {
		return err
	}
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	imp := exportImporter(fset, exports)
	for _, p := range all {
		inner, ok := inModule(p.ImportPath)
		if !ok || len(p.GoFiles) == 0 || strings.HasPrefix(inner, "proto/") || inner == "server/gulmtest" {
			continue
		}
		var files []sourceFile
		for _, name := range p.GoFiles {
			file, err := parseSource(fset, inner+"/"+name, filepath.Join(p.Dir, name), nil)
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		c.pkg(p.ImportPath, fset, files, imp)
	}
	return nil
}

// pkg checks one package.
func (c *logCheck) pkg(path string, fset *token.FileSet, files []sourceFile, imp types.Importer) {
	c.fset, c.wrappers = fset, map[*types.Func]int{}
	c.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}
	var syntax []*ast.File
	for _, file := range files {
		syntax = append(syntax, file.syntax)
	}
	conf := types.Config{Importer: imp, Error: func(err error) { c.faults = append(c.faults, err.Error()) }}
	if _, err := conf.Check(path, fset, syntax, c.info); err != nil {
		return
	}
	// A wrapper may be found after its callers, so look until none is new.
	for known := -1; known != len(c.wrappers); {
		known = len(c.wrappers)
		c.functions(files, func(fn *ast.FuncDecl, call *ast.CallExpr) {
			if at, ok := c.message(call); ok && at >= 0 && at < len(call.Args) {
				c.wrapper(fn, call.Args[at])
			}
		})
	}
	c.functions(files, c.call)
}

// functions calls f for every call in every function.
func (c *logCheck) functions(files []sourceFile, f func(*ast.FuncDecl, *ast.CallExpr)) {
	for _, file := range files {
		for _, decl := range file.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			c.name = file.name + ":" + fn.Name.Name
			ast.Inspect(fn, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					f(fn, call)
				}
				return true
			})
		}
	}
}

// callee returns the function that is called, nil for a conversion or a value.
func (c *logCheck) callee(call *ast.CallExpr) *types.Func {
	var id *ast.Ident
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		id = fun
	case *ast.SelectorExpr:
		id = fun.Sel
	default:
		return nil
	}
	f, _ := c.info.Uses[id].(*types.Func)
	return f
}

// message reports whether call logs, and which argument is the message.
func (c *logCheck) message(call *ast.CallExpr) (at int, ok bool) {
	f := c.callee(call)
	if f == nil {
		return 0, false
	}
	if at, ok := c.wrappers[f]; ok {
		return at, true
	}
	if !isLogger(f) {
		return 0, false
	}
	at, ok = messageAt[f.Name()]
	return at, ok
}

// isLogger says whether f is a method of *slog.Logger, or one of slog's own
// functions that log.
func isLogger(f *types.Func) bool {
	if f.Pkg() == nil || f.Pkg().Path() != "log/slog" {
		return false
	}
	recv := f.Signature().Recv()
	return recv == nil || strings.HasSuffix(recv.Type().String(), "slog.Logger")
}

// wrapper notes that fn logs its parameter msg as the message, if it is one.
func (c *logCheck) wrapper(fn *ast.FuncDecl, msg ast.Expr) {
	id, ok := msg.(*ast.Ident)
	if !ok {
		return
	}
	f, ok := c.info.Defs[fn.Name].(*types.Func)
	if !ok {
		return
	}
	for i := range f.Signature().Params().Len() {
		if f.Signature().Params().At(i) == c.info.Uses[id] {
			c.wrappers[f] = i
		}
	}
}

// call checks one call.
func (c *logCheck) call(fn *ast.FuncDecl, call *ast.CallExpr) {
	at, ok := c.message(call)
	if !ok {
		return
	}
	f := c.callee(call)
	if f.Pkg().Path() == "log/slog" && f.Signature().Recv() == nil {
		c.fault(call, "log through a logger that is handed in, not through package slog")
		return
	}
	if at >= 0 && at < len(call.Args) {
		c.text(fn, call.Args[at])
	}
	if _, ok := c.wrappers[f]; ok {
		return // its keys are checked where it logs
	}
	c.pairs(call.Args[min(at+1, len(call.Args)):], call.Ellipsis.IsValid())
	if call.Ellipsis.IsValid() {
		c.lists(fn)
	}
}

// text checks a message.
func (c *logCheck) text(fn *ast.FuncDecl, msg ast.Expr) {
	value := c.info.Types[msg].Value
	if value == nil || value.Kind() != constant.String {
		if f, ok := c.info.Defs[fn.Name].(*types.Func); ok {
			if _, wrapped := c.wrappers[f]; wrapped && isParam(f, c.info, msg) {
				return
			}
		}
		c.fault(msg, "the message is no constant: put what varies into an attribute")
		return
	}
	switch text := constant.StringVal(value); {
	case text == "" || text != strings.ToLower(text):
		c.fault(msg, "the message %q is not in lower case", text)
	case strings.HasSuffix(text, ".") || strings.ContainsAny(text, "%\n"):
		c.fault(msg, "the message %q is one plain line without a full stop", text)
	}
}

// isParam says whether x is a parameter of f.
func isParam(f *types.Func, info *types.Info, x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	if !ok {
		return false
	}
	for v := range f.Signature().Params().Variables() {
		if v == info.Uses[id] {
			return true
		}
	}
	return false
}

// pairs checks keys and values, or attributes; of a spread list the last is
// looked at where it is made.
func (c *logCheck) pairs(args []ast.Expr, spread bool) {
	if spread {
		last := args[len(args)-1]
		args = args[:len(args)-1]
		if inner, ok := ast.Unparen(last).(*ast.CallExpr); ok {
			if id, ok := inner.Fun.(*ast.Ident); !ok || id.Name != "append" {
				c.fault(last, "the keys are not seen here: make the list in this function")
			}
		}
	}
	for i := 0; i < len(args); i++ {
		if types.TypeString(c.info.TypeOf(args[i]), nil) == "log/slog.Attr" {
			c.attr(args[i])
			continue
		}
		c.key(args[i])
		i++ // its value
	}
}

// attr checks a key in a call of slog.String and the like.
func (c *logCheck) attr(x ast.Expr) {
	call, ok := ast.Unparen(x).(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		c.fault(x, "the key of this attribute is not seen here")
		return
	}
	c.key(call.Args[0])
}

func (c *logCheck) key(x ast.Expr) {
	value := c.info.Types[x].Value
	if value == nil || value.Kind() != constant.String {
		c.fault(x, "the key is no constant")
		return
	}
	key := constant.StringVal(value)
	c.used[key] = true
	if !c.keys[key] {
		c.fault(x, "the key %q is not in the table %q of %s", key, logKeysHeading, logKeysDocument)
	}
}

// lists checks the lists of keys and values that fn makes.
func (c *logCheck) lists(fn *ast.FuncDecl) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.CompositeLit:
			if types.TypeString(c.info.TypeOf(x), nil) == "[]any" {
				c.pairs(x.Elts, false)
			}
		case *ast.CallExpr:
			id, ok := x.Fun.(*ast.Ident)
			if ok && id.Name == "append" && types.TypeString(c.info.TypeOf(x), nil) == "[]any" {
				c.pairs(x.Args[1:], x.Ellipsis.IsValid())
			}
		}
		return true
	})
}

func (c *logCheck) fault(n ast.Node, format string, args ...any) {
	if _, ok := c.free[c.name]; ok {
		c.used[c.name] = true
		return
	}
	text := fmt.Sprintf("%s: %s", c.fset.Position(n.Pos()), fmt.Sprintf(format, args...))
	if !slices.Contains(c.faults, text) {
		c.faults = append(c.faults, text)
	}
}

func TestCheckLogs_planted(t *testing.T) {
	const head = `package a; import ("context"; "log/slog"); type t struct{ log *slog.Logger }; var _ context.Context; `
	tests := []struct{ name, source, want string }{
		{"as it should be", `func f(x t) { x.log.Info("node expired", "node", "n1", slog.Int("jid", 1)) }`, ""},
		{"constant put together", `const a = "x"; func f(x t) { x.log.With("node", 1).Warn(a + " y") }`, ""},
		{"message made", `func f(x t, s string) { x.log.Info("node " + s) }`, "no constant"},
		{"message in capitals", `func f(x t) { x.log.Info("Node") }`, "lower case"},
		{"message with a full stop", `func f(x t) { x.log.Info("it is so.") }`, "full stop"},
		{"message with a verb of fmt", `func f(x t) { x.log.Info("it is %d") }`, "full stop"},
		{"unknown key", `func f(x t) { x.log.Error("x", "host", 1) }`, `"host" is not in the table`},
		{"unknown key of With", `func f(x t) { x.log.With("host", 1).Error("x") }`, `"host" is not in the table`},
		{"unknown key of an attribute", `func f(x t) { x.log.Error("x", slog.String("host", "")) }`, `"host" is not in the table`},
		{"unknown key after a context", `func f(x t) { x.log.Log(context.TODO(), slog.LevelInfo, "x", "host", 1) }`, `"host" is not in the table`},
		{"key made", `func f(x t, k string) { x.log.Error("x", k, 1) }`, "key is no constant"},
		{"list of keys", `func f(x t) { a := []any{"node", 1}; a = append(a, "jid", 2); x.log.Info("x", a...) }`, ""},
		{"unknown key in a list", `func f(x t) { a := []any{"host", 1}; x.log.Info("x", a...) }`, `"host" is not in the table`},
		{"unknown key appended", `func f(x t) { a := []any{"node", 1}; x.log.Info("x", append(a, "host", 2)...) }`, `"host" is not in the table`},
		{"list from elsewhere", `func g() []any { return nil }; func f(x t) { x.log.Info("x", g()...) }`, "not seen here"},
		{"logger of the package", `func f() { slog.Info("x") }`, "handed in"},
		{"wrapper", `func (x t) say(msg string) { x.log.Info(msg) }; func f(x t) { x.say("x") }`, ""},
		{"wrapper of a wrapper, message made", `func f(x t, s string) { x.more("a" + s) }; func (x t) more(m string) { x.say(m) }; ` +
			`func (x t) say(msg string) { x.log.Info(msg) }`, "no constant"},
		{"another Error", `type e struct{}; func (e) Error(msg string) {}; func f(s string) { e{}.Error("A" + s) }`, ""},
	}
	m := theModule(t)
	all, err := goList(m.root, "-deps", "-export", "-json=ImportPath,Export", "log/slog", "context")
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	imp := exportImporter(token.NewFileSet(), exports)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset, file := planted(t, "a/a.go", head+test.source)
			c := &logCheck{keys: map[string]bool{"node": true, "jid": true}, used: map[string]bool{}}
			c.pkg("a", fset, []sourceFile{file}, imp)
			expect(t, c.faults, test.want)
		})
	}
}
