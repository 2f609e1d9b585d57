package ci

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// rule says where a package stands and what it may import.
type rule struct {
	// pattern is a package's path in the module, or a folder followed by /...
	// for whatever is below it. An exact path wins over a folder.
	pattern string
	// layer: a package imports only from layers with a lower number.
	layer int
	// only, if not nil, are the patterns of this module that it may import,
	// even if there are more below it.
	only []string
	// std means that beside packages of this module it imports only the
	// standard library.
	std bool
	// testing means that only tests import it.
	testing bool
	// tests are patterns that only its tests may import, though they are not
	// below it: they drive it from above.
	tests []string
}

// layers has every package of the module. Add a new package here, in the
// lowest layer that holds what it needs.
var layers = []rule{
	{pattern: "proto/life", layer: 0, std: true},
	{pattern: "server/reason", layer: 0, std: true, tests: []string{"proto/gulmerr"}},

	{pattern: "server/lock", layer: 1, std: true},
	{pattern: "server/member", layer: 1, std: true},
	{pattern: "server/journal", layer: 1, std: true},

	{pattern: "server/state", layer: 2, std: true, tests: []string{"server/codec"}},
	{pattern: "proto/gulm/v1", layer: 2},
	{pattern: "proto/raftlog/v1", layer: 2},
	{pattern: "fence", layer: 2, only: []string{}, std: true, tests: []string{"fence/sim", "fence/process"}},

	{pattern: "fence/sim", layer: 3, only: []string{"fence"}, std: true},
	{pattern: "fence/agent", layer: 2, only: []string{}, std: true},
	{pattern: "fence/process", layer: 3, only: []string{"fence", "fence/agent"}, std: true},
	{pattern: "fence/watchdog", layer: 3, only: []string{"fence", "fence/agent"}, std: true},
	{pattern: "proto/gulmerr", layer: 3, only: []string{"proto/..."}},

	{pattern: "server/codec", layer: 4, only: []string{"server/...", "proto/..."}},
	{pattern: "ccs", layer: 4, only: []string{"fence"}},
	{pattern: "client", layer: 4, only: []string{"proto/..."}},

	{pattern: "server/replica", layer: 5, only: []string{}},

	{pattern: "server/machine", layer: 6, only: []string{"server/...", "proto/..."}, tests: []string{"server/session"}},

	{pattern: "server/session", layer: 7, only: serverOnly},

	{pattern: "server/master", layer: 8, only: serverOnly},
	{pattern: "server/rpc", layer: 9, only: serverOnly},
	{pattern: "server", layer: 10, only: serverOnly},

	{pattern: "server/gulmtest", layer: 11, testing: true},
	{pattern: "cmd/internal/demo", layer: 11, tests: []string{"cmd/internal/daemon"}},
	{pattern: "cmd/internal/...", layer: 11},

	{pattern: "cmd/lock_gulmd", layer: 12},
	{pattern: "cmd/gulm_tool", layer: 12},
	{pattern: "cmd/fence_node", layer: 12},
	{pattern: "cmd/fence_process", layer: 12},
	{pattern: "cmd/fence_watchdog", layer: 12},
	{pattern: "cmd/fence_ack_manual", layer: 12},
	{pattern: "cmd/ccs_tool", layer: 12},

	{pattern: "deploy/...", layer: 13},
}

// serverOnly is all that a server is made of: not the client library, since
// the two meet only in proto.
var serverOnly = []string{"server/...", "proto/...", "fence/...", "ccs"}

// outside says which packages may import a module that decides a lot about
// whoever uses it. Other modules are free.
var outside = []struct {
	prefix string // of the import path
	users  []string
}{
	{"github.com/hashicorp/raft", []string{"server/replica/...", "server/gulmtest"}},
	{"github.com/hashicorp/raft-boltdb", []string{"server/replica/..."}},
	{"github.com/hashicorp/raft-wal", []string{"server/replica/..."}},
	{"go.etcd.io/bbolt", []string{"server/replica/..."}},
	{"github.com/boltdb/bolt", nil},
	{"github.com/spf13/viper", []string{"ccs", "cmd/..."}},
	{"github.com/spf13/cobra", []string{"cmd/..."}},
	{"google.golang.org/grpc", []string{"proto/...", "client/...", "server", "server/rpc", "server/gulmtest", "cmd/..."}},
}

// unreachable lists what a package may not reach over any number of imports.
var unreachable = map[string][]string{
	"client": {
		"github.com/hashicorp/...", "go.etcd.io/bbolt/...", "github.com/boltdb/...", "github.com/spf13/...",
		modulePath + "/server/...", modulePath + "/ccs/...", modulePath + "/fence/...", modulePath + "/cmd/...",
	},
	"fence": {modulePath + "/server/...", modulePath + "/proto/..."},
}

// imports is one package and what its files import.
type imports struct {
	pkg   string   // path in the module
	code  []string // full import paths of non-test files
	tests []string // of test files
}

func TestLayers(t *testing.T) {
	m := theModule(t)
	report(t, checkLayers(layers, moduleImports(m)))
}

func TestLayers_unreachable(t *testing.T) {
	m := theModule(t)
	for pkg, forbidden := range unreachable {
		deps, err := goList(m.root, "-deps", "-json=ImportPath", "./"+pkg)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, dep := range deps {
			if dep.ImportPath != modulePath+"/"+pkg {
				paths = append(paths, dep.ImportPath)
			}
		}
		report(t, checkReach(pkg, forbidden, paths))
	}
}

// moduleImports gathers what the files of each package import, whatever their
// build tags.
func moduleImports(m *module) []imports {
	var all []imports
	at := map[string]int{}
	for _, file := range m.sources {
		i, ok := at[file.pkg]
		if !ok {
			i = len(all)
			at[file.pkg] = i
			all = append(all, imports{pkg: file.pkg})
		}
		if file.test {
			all[i].tests = append(all[i].tests, importsOf(file.syntax)...)
		} else {
			all[i].code = append(all[i].code, importsOf(file.syntax)...)
		}
	}
	return all
}

// checkLayers returns what the packages do against the table.
func checkLayers(table []rule, packages []imports) []string {
	var faults []string
	for _, p := range packages {
		from := find(table, p.pkg)
		if from == nil {
			faults = append(faults, fmt.Sprintf("%s: has no layer: add it to the table in layers_test.go", p.pkg))
			continue
		}
		for _, imported := range sorted(p.code) {
			if why := refuse(table, from, p.pkg, imported); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.pkg, imported, why))
			}
		}
		for _, imported := range sorted(p.tests) {
			if why := refuseInTest(table, from, p.pkg, imported); why != "" {
				faults = append(faults, fmt.Sprintf("a test of %s imports %s: %s", p.pkg, imported, why))
			}
		}
	}
	return faults
}

// refuse says why a non-test file of pkg may not have this import; "" if it may.
func refuse(table []rule, from *rule, pkg, imported string) string {
	inner, ok := inModule(imported)
	if !ok {
		return refuseOutside(from, pkg, imported)
	}
	to := find(table, inner)
	switch {
	case to == nil:
		return "it has no layer"
	case to.testing:
		return "it is for tests only"
	case to.layer >= from.layer:
		return fmt.Sprintf("layer %d may not look up to layer %d", from.layer, to.layer)
	case from.only != nil && !matchesAny(from.only, inner):
		return "it is not among the packages that the table allows here"
	}
	return ""
}

// refuseOutside is refuse for packages of other modules.
func refuseOutside(from *rule, pkg, imported string) string {
	if isStandard(imported) {
		return ""
	}
	if from.std {
		return "only the standard library is allowed here"
	}
	for _, o := range outside {
		if hasPathPrefix(imported, o.prefix) && !matchesAny(o.users, pkg) {
			return fmt.Sprintf("only these packages may: %q", o.users)
		}
	}
	return ""
}

// refuseInTest is refuse for test files. They may import what the package may,
// the package itself, whatever is below it, and the packages made for tests.
// Other modules are free.
func refuseInTest(table []rule, from *rule, pkg, imported string) string {
	inner, ok := inModule(imported)
	if !ok || inner == pkg {
		return ""
	}
	to := find(table, inner)
	switch {
	case to == nil:
		return "it has no layer"
	case to.testing || to.layer < from.layer || matchesAny(from.tests, inner):
		return ""
	}
	return fmt.Sprintf("layer %d may not look up to layer %d", from.layer, to.layer)
}

// checkReach returns those of the transitive dependencies that pkg must not
// have.
func checkReach(pkg string, forbidden, deps []string) []string {
	var faults []string
	for _, dep := range sorted(deps) {
		if matchesAny(forbidden, dep) {
			faults = append(faults, fmt.Sprintf("%s reaches %s: one of its imports, or of theirs, has to go", pkg, dep))
		}
	}
	return faults
}

// find returns the rule for a package of the module, nil if there is none.
func find(table []rule, pkg string) *rule {
	var found *rule
	for i := range table {
		if table[i].pattern == pkg {
			return &table[i]
		}
		if matches(table[i].pattern, pkg) && found == nil {
			found = &table[i]
		}
	}
	return found
}

// matches says whether a pattern (a path, or a folder with /...) covers name.
func matches(pattern, name string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return hasPathPrefix(name, folder)
	}
	return pattern == name
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// hasPathPrefix says whether name is prefix or below it.
func hasPathPrefix(name, prefix string) bool {
	return name == prefix || strings.HasPrefix(name, prefix+"/")
}

// inModule cuts the module's name off an import path.
func inModule(imported string) (string, bool) {
	return strings.CutPrefix(imported, modulePath+"/")
}

// isStandard says whether an import path is of the standard library: those
// have no dot in the first element.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(path.Clean(imported), "/")
	return !strings.Contains(first, ".") && first != modulePath
}

func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
