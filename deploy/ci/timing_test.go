package ci

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// timingDocument has a table of all rules with a time in them.
const timingDocument = "deploy/docs/timing.md"

// timedPackages are those of which each constant with a time in it is in the table.
var timedPackages = []string{"server/master", "client", "fence"}

// settingsFiles say which settings there are, by the pattern in which they do.
var settingsFiles = map[string]*regexp.Regexp{
	"ccs/cluster.go":                  regexp.MustCompile(`key: "([a-z_]+)"`),
	"cmd/internal/daemon/settings.go": regexp.MustCompile(`mapstructure:"([a-z_]+)"`),
}

// timedSettings finds those with a time in ccs.
var timedSettings = regexp.MustCompile(`(?s)key: "([a-z_]+)"[^{}]*?seconds: func`)

// TestTiming: what the table of times names exists, and it leaves no setting and no
// constant out.
func TestTiming(t *testing.T) {
	root := theModule(t).root
	text, err := os.ReadFile(filepath.Join(root, timingDocument))
	if err != nil {
		t.Fatal(err)
	}
	faults, err := checkTiming(root, string(text))
	if err != nil {
		t.Fatal(err)
	}
	report(t, faults)
}

// inTicks finds what stands in backticks.
var inTicks = regexp.MustCompile("`([^`]+)`")

// checkTiming returns what is wrong with the table of times.
func checkTiming(root, text string) ([]string, error) {
	settings, constants, timed, err := timesOf(root)
	if err != nil {
		return nil, err
	}
	var faults []string
	named := map[string]bool{}
	for _, cells := range timingRows(text) {
		if len(cells) != 5 {
			faults = append(faults, fmt.Sprintf("%s: a rule has %d cells, want 5: %s", timingDocument, len(cells), cells[0]))
			continue
		}
		if !strings.Contains(cells[4], "Test") {
			faults = append(faults, fmt.Sprintf("%s: no test holds: %s", timingDocument, cells[0]))
		}
		for _, m := range inTicks.FindAllStringSubmatch(cells[1], -1) {
			named[m[1]] = true
			if !settings[m[1]] && !constants[m[1]] && m[1] != "timeout" {
				faults = append(faults, fmt.Sprintf("%s: there is no setting or constant %s", timingDocument, m[1]))
			}
		}
	}
	for _, name := range timed {
		if !named[name] {
			faults = append(faults, fmt.Sprintf("%s: no rule names %s: add it, with the test that holds it", timingDocument, name))
		}
	}
	return faults, nil
}

// timingRows returns the cells of each rule.
func timingRows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| rule |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// timesOf returns all settings, all constants as package.Name, and those of both
// that have a time in them.
func timesOf(root string) (settings, constants map[string]bool, timed []string, err error) {
	settings, constants = map[string]bool{}, map[string]bool{}
	for name, pattern := range settingsFiles {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, nil, nil, err
		}
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			settings[m[1]] = true
		}
		for _, m := range timedSettings.FindAllStringSubmatch(string(text), -1) {
			timed = append(timed, m[1])
		}
	}
	for _, pkg := range append([]string{"server/replica"}, timedPackages...) {
		found, err := timeConstants(root, pkg)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, name := range found {
			constants[name] = true
			if slices.Contains(timedPackages, pkg) {
				timed = append(timed, name)
			}
		}
	}
	return settings, constants, sorted(timed), nil
}

// timeConstants returns the constants of a package that are made of one of package
// time, but for units that only bound what somebody asked for.
func timeConstants(root, pkg string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.CONST {
				found = append(found, timeSpecs(pkg, g)...)
			}
		}
	}
	return found, nil
}

func timeSpecs(pkg string, g *ast.GenDecl) (found []string) {
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		for i, value := range v.Values {
			timed := false
			ast.Inspect(value, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					x, ok := s.X.(*ast.Ident)
					timed = timed || ok && x.Name == "time"
				}
				return true
			})
			if name := v.Names[i].Name; timed && !slices.Contains(noRules, pkg+"."+name) {
				found = append(found, pkg+"."+name)
			}
		}
	}
	return found
}

// noRules are constants with a time in them that no rule follows from.
var noRules = []string{
	"client.never", // an age that everything is younger than
}

// TestCheckTiming_planted: faults in the table are found.
func TestCheckTiming_planted(t *testing.T) {
	root := theModule(t).root
	text, err := os.ReadFile(filepath.Join(root, timingDocument))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"`breaker_window`":                          "`breaker_windows`",
		"`server/master.holdPeriod`":                "nothing",
		"`server/master`: TestTiming_Rounds":        "nobody",
		"| server | | `server/master`: TestTiming_": "| `server/master`: TestTiming_",
	} {
		spoilt := strings.Replace(string(text), from, to, 1)
		faults, err := checkTiming(root, spoilt)
		if err != nil || len(faults) == 0 || spoilt == string(text) {
			t.Errorf("%s for %s is not found: %v, %v", to, from, faults, err)
		}
	}
}
