package ci

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// The tests here hand each checker a fault on purpose. A rule that no longer
// catches its fault would otherwise pass for ever and in silence.

func TestCheckLayers_planted(t *testing.T) {
	table := []rule{
		{pattern: "low", layer: 0, std: true},
		{pattern: "other", layer: 0},
		{pattern: "mid", layer: 1, only: []string{"low"}, tests: []string{"high"}},
		{pattern: "high", layer: 2},
		{pattern: "high/kit", layer: 3, testing: true},
		{pattern: "cmd/...", layer: 4},
	}
	in := func(pkg string) []string { return []string{modulePath + "/" + pkg} }
	tests := []struct {
		name string
		p    imports
		want string // part of the fault, "" for none
	}{
		{"downward", imports{pkg: "mid", code: in("low")}, ""},
		{"folder pattern", imports{pkg: "cmd/tool", code: in("high")}, ""},
		{"upward", imports{pkg: "mid", code: in("high")}, "may not look up"},
		{"sideways", imports{pkg: "other", code: in("low")}, "may not look up"},
		{"downward but not listed", imports{pkg: "mid", code: in("other")}, "not among the packages"},
		{"unlisted package", imports{pkg: "high/new"}, "has no layer"},
		{"root package", imports{pkg: ""}, "has no layer"},
		{"import of an unlisted package", imports{pkg: "high", code: in("high/new")}, "has no layer"},
		{"test kit in code", imports{pkg: "cmd/tool", code: in("high/kit")}, "for tests only"},
		{"test kit in a test", imports{pkg: "low", tests: in("high/kit")}, ""},
		{"itself in a test", imports{pkg: "low", tests: in("low")}, ""},
		{"upward in a test", imports{pkg: "low", tests: in("mid")}, "may not look up"},
		{"upward in a test, listed", imports{pkg: "mid", tests: in("high")}, ""},
		{"standard library", imports{pkg: "low", code: []string{"net/http"}}, ""},
		{"other module where none is allowed", imports{pkg: "low", code: []string{"golang.org/x/sys/unix"}}, "only the standard library"},
		{"raft outside replica", imports{pkg: "high", code: []string{"github.com/hashicorp/raft"}}, "only these packages"},
		{"viper outside ccs", imports{pkg: "high", code: []string{"github.com/spf13/viper"}}, "only these packages"},
		{"other module", imports{pkg: "high", code: []string{"golang.org/x/sync/errgroup"}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, checkLayers(table, []imports{test.p}), test.want)
		})
	}
}

func TestCheckReach_planted(t *testing.T) {
	for _, dep := range []string{
		"github.com/hashicorp/raft",
		"github.com/hashicorp/go-hclog",
		"go.etcd.io/bbolt",
		"github.com/spf13/viper",
		modulePath + "/server",
		modulePath + "/server/lock",
	} {
		expect(t, checkReach("client", unreachable["client"], []string{"fmt", dep}), "client reaches "+dep)
	}
	expect(t, checkReach("client", unreachable["client"], []string{"fmt", "google.golang.org/grpc", modulePath + "/proto/gulmerr"}), "")
}

func TestCheckPure_planted(t *testing.T) {
	tests := []struct {
		name, source string
		want         string // part of the fault, "" for none
	}{
		{"time", `import "time"; func F() int64 { return time.Now().Unix() }`, "may not import time"},
		{"random", `import "math/rand/v2"; func F() int { return rand.Int() }`, "may not import math/rand/v2"},
		{"upward import", `import _ "` + modulePath + `/server/codec"`, "may not import"},
		{"dot import", `import . "fmt"; func F() string { return Sprint(1) }`, "dot import"},
		{"go statement", `func F() { go F() }`, "go statement"},
		{"select", `func F() { select {} }`, "select statement"},
		{"channel type", `type T struct{ c chan int }`, "channel"},
		{"channel send", `func F(c chan<- int) { c <- 1 }`, "channel"},
		{"float type", `func F(x float64) {}`, "floating point"},
		{"float literal", `const half = 0.5`, "floating point"},
		{"float inferred", `import "math"; func F() bool { x := math.Sqrt(4); return x > 1 }`, "floating point"},
		{"complex", `func F() complex128 { return 1i }`, "floating point"},
		{"init", `func init() {}`, "init function"},
		{"method named init", `type T struct{}; func (T) init() {}`, ""},
		{"package variable", `var n int`, "package variable n"},
		{"package variable with a value", `var n = 3`, "package variable n"},
		{"package variable from a call", `func f() int { return 1 }; var n = [1]int{f()}`, "package variable n"},
		{"package variable by pointer", `var n = &struct{ x int }{1}`, "package variable n"},
		{"two package variables of one call", `func f() (int, int) { return 1, 2 }; var n, m = f()`, "package variable n"},
		{"table written to", `var t = [2]int{1, 2}; func F() { t[0] = 2 }`, "t is changed"},
		{"table counted up", `type s struct{ n int }; var t = s{}; func F() { t.n++ }`, "t is changed"},
		{"table whose address is taken", `var t = [2]int{}; func F() *int { return &t[0] }`, "t is changed"},
		{"table deleted from", `var t = map[int]int{}; func F() { delete(t, 1) }`, "t is changed"},
		{"range over a map", `func F(m map[int]int) { for range m {} }`, "range over a map"},
		{"range over a named map", `type M map[int]int; func F(m M) { for k := range m { _ = k } }`, "range over a map"},
		{"range over a generic map", `func F[M ~map[int]int](m M) { for k := range m { _ = k } }`, "range over a map"},
		{"maps.Keys unsorted", `import "maps"; func F(m map[int]int) { for range maps.Keys(m) {} }`, "outside slices.Sorted"},
		{"maps.Keys collected", `import ("maps"; "slices"); func F(m map[int]int) []int { return slices.Collect(maps.Keys(m)) }`, "outside slices.Sorted"},
		{"maps.All", `import "maps"; func F(m map[int]int) { for range maps.All(m) {} }`, "maps.All"},
		{"does not compile", `func F() { undefined() }`, "undefined"},

		{"maps.Keys sorted", `import ("maps"; "slices"); func F(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }`, ""},
		{"maps.Clone", `import "maps"; func F(m map[int]int) map[int]int { return maps.Clone(m) }`, ""},
		{"range over a slice", `func F(s []int) { for range s {} }`, ""},
		{"sentinel error", `import "errors"; var errX = errors.New("x")`, ""},
		{"table", `type mode uint8; var t = [...]mode{mode(1), 2}; var u = map[string][]int{"a": {1}}`, ""},
		{"assertion", `import "fmt"; type T int; func (T) String() string { return "" }; var _ fmt.Stringer = T(0)`, ""},
		{"local variable", `func F() int { var n int; n++; p := &n; return *p }`, ""},
	}
	imp := plantedImporter(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parseSource(fset, "server/lock/planted.go", "planted.go", "package planted; "+test.source)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkPure("planted", fset, []*ast.File{file.syntax}, imp), test.want)
		})
	}
}

// plantedImporter knows the packages that the planted sources import.
func plantedImporter(t *testing.T) types.Importer {
	t.Helper()
	m := theModule(t)
	all, err := goList(m.root, "-deps", "-export", "-json=ImportPath,Export", "time", "math/rand/v2", "fmt", "math", "maps", "slices", "errors")
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	return exportImporter(token.NewFileSet(), exports)
}

func TestCheckSize_planted(t *testing.T) {
	usual := func(_ string, usual int) int { return usual }
	lines := func(n int) string { return strings.Repeat("\n", n) }
	tests := []struct {
		name, file, source string
		want               string
	}{
		{"long file", "a/a.go", "package a" + lines(maxFileLines+1), "a/a.go: 501 lines"},
		{"long test", "a/a_test.go", "package a" + lines(maxFileLines+1), ""},
		{"long generated file", "a/a.pb.go", "// Code generated by x. DO NOT EDIT.\n\npackage a" + lines(maxFileLines+1), ""},
		{"longest file", "a/a.go", "package a" + lines(maxFileLines), ""},
		{"long function", "a/a.go", "package a\nfunc f() {" + lines(maxFuncLines) + "}", "a/a.go:f: 61 lines"},
		{"longest function", "a/a.go", "package a\nfunc f() {" + lines(maxFuncLines-1) + "}", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset, file := planted(t, test.file, test.source)
			expect(t, checkSize(fset, []sourceFile{file}, usual), test.want)
		})
	}
}

func TestCheckDocumented_planted(t *testing.T) {
	const head = "// Package a is.\npackage a\n"
	tests := []struct {
		name, file, source string
		want               string
	}{
		{"no package comment", "a/a.go", "package a", "no package comment"},
		{"no package comment, only tests", "a/a_test.go", "package a", "no package comment"},
		{"bare function", "a/a.go", head + "func F() {}", "exported F"},
		{"comment about something else", "a/a.go", head + "// G does.\nfunc F() {}", "exported F"},
		{"longer name", "a/a.go", head + "// Fast does.\nfunc F() {}", "exported F"},
		{"bare type", "a/a.go", head + "type T int", "exported T"},
		{"bare type in a group", "a/a.go", head + "// Types.\ntype (\n\tT int\n)", "exported T"},
		{"bare method", "a/a.go", head + "// T is.\ntype T int\nfunc (t *T) M() {}", "exported M"},
		{"bare constant", "a/a.go", head + "const C = 1", "exported C"},
		{"bare variable in a group", "a/a.go", head + "var (\n\tV = 1\n)", "exported V"},

		{"documented", "a/a.go", head + "// A T is.\ntype T int\n\n// M does.\nfunc (t *T) M() {}\n\n// The modes.\nconst (\n\tC = 1\n)", ""},
		{"method of a hidden type", "a/a.go", head + "type t int\nfunc (t) M() {}", ""},
		{"main package", "a/a.go", "// Command a does.\npackage main\nfunc F() {}", ""},
		{"package of tests", "a/a_test.go", "// Package a is.\npackage a", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset, file := planted(t, test.file, test.source)
			expect(t, checkDocumented(fset, []sourceFile{file}), test.want)
		})
	}
}

func TestCheckDocumented_commentInTest(t *testing.T) {
	fset, code := planted(t, "a/a.go", "package a")
	_, test := planted(t, "a/a_test.go", "// Package a is.\npackage a")
	expect(t, checkDocumented(fset, []sourceFile{code, test}), "a: the package has no package comment")
}

func TestCheckWords_planted(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"server/rpc/a.go", "// the slave answers", "say standby"},
		{"deploy/docs/a.md", "GULM's word for a standby is Slave", ""},
		{"server/rpc/a.go", "func stonithNode() {}", "say fence"},
		{"server/master/a.go", "// the leader answers", "say master"},
		{"server/master/a.go", "func isLeader() bool", "say master"},
		{"server/master/a.go", "// leadership is checked again", ""},
		{"server/master/a.go", "err := m.replica.VerifyLeader(ctx)", ""},
		{"server/master/a.go", "func VerifyLeader() error", "say master"},
		{"server/replica/a.go", "// the leader answers", ""},
		{"server/master/a.go", "// raft's leader is the master", ""},
		{"server/rpc/a.go", "// TODO: later", "number of its issue"},
		{"server/rpc/a.go", "ctx := context.TODO()", "number of its issue"},
		{"server/rpc/a.go", "// TODO(#12): resume after a restart", ""},
		{"server/rpc/a.go", "// FIXME", "fix it"},
		{"deploy/a.sh", "mktemp /tmp/a.XXXXXX", ""},
		{"deploy/a.sh", "cd /builds/gulm/sources && go test ./...", "where the repository lies"},
		{"deploy/a.sh", "cd /builds/gulm/sources/deploy", "where the repository lies"},
		{"deploy/a.sh", "cd /builds/gulm/sources-2", ""},
	}
	all := append(words[:len(words):len(words)], *ownDirectory("/builds/gulm/sources"))
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			expect(t, checkWords(all, test.name, test.line), test.want)
		})
	}
}

// planted parses one source.
func planted(t *testing.T, name, source string) (*token.FileSet, sourceFile) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parseSource(fset, name, name, source)
	if err != nil {
		t.Fatal(err)
	}
	return fset, file
}

// expect asserts that some fault contains want, or that there is none if want
// is empty.
func expect(t *testing.T, faults []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(faults) > 0:
		t.Errorf("found a fault where there is none: %q", faults)
	case want != "" && !strings.Contains(strings.Join(faults, "\n"), want):
		t.Errorf("faults %q, want one with %q", faults, want)
	}
}
