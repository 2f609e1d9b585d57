package lock

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reading are the exported methods of a table that change no lock.
var reading = []string{
	"Begin", "Changed", "Check", "Clone", "Counters", "Counts", "Digest", "GulmQuery", "Known", "Joined", "Locks", "NeedsFence", "Members", "Owners",
	"RangeCounts", "RangeTest", "Ranges", "Resource", "SetLimits", "SpaceName", "SpaceOf", "Spaces", "TakeEvents", "Walk", "WalkWaits", "Watch", "Watched", "Waits",
	"AllDeadlocks", "Deadlocks", "Explain",
	"WalkRanges", "HasIn", "LeftIn",
	"Awaits", "Policies", "PolicyOf", "SpacesOf",
	"LeaseOf", "Leases", "LongestLease",
}

// TestInvariants_everywhere: whatever else can be called checks the table with
// the build tag invariants.
func TestInvariants_everywhere(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || !ofTable(fn) || slices.Contains(reading, fn.Name.Name) {
				continue
			}
			checked++
			if !checksFirst(fn) {
				t.Errorf("%s: %s must begin with \"if invariants { defer t.mustHold() }\" or stand in `reading` above", name, fn.Name.Name)
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d methods found", checked)
	}
}

func ofTable(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return false
	}
	star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	name, ok := star.X.(*ast.Ident)
	return ok && name.Name == "Table"
}

func checksFirst(fn *ast.FuncDecl) bool {
	if len(fn.Body.List) == 0 {
		return false
	}
	first, ok := fn.Body.List[0].(*ast.IfStmt)
	if !ok {
		return false
	}
	cond, ok := first.Cond.(*ast.Ident)
	return ok && cond.Name == "invariants"
}
