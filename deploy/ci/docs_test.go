package ci

import (
	"bytes"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocuments shows that what the documents refer to is there: files and
// headings that they link to, and tests that they name, in the package that
// safety.md gives.
func TestDocuments(t *testing.T) {
	m := theModule(t)
	d := documents{texts: map[string][]byte{}, tests: map[string][]string{}}
	err := m.walk(func(name, file string) error {
		if !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(file)
		d.texts[name] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.exists = func(name string) bool {
		_, err := os.Stat(filepath.Join(m.root, filepath.FromSlash(name)))
		return err == nil
	}
	for _, file := range m.sources {
		d.collect(file)
	}
	report(t, d.check())
}

// documents are texts by their names, and what they may refer to.
type documents struct {
	texts  map[string][]byte
	exists func(name string) bool
	// tests are the folders in which a test, benchmark or fuzz target of that name is.
	tests map[string][]string
}

// collect notes the tests of one source.
func (d *documents) collect(file sourceFile) {
	if !file.test {
		return
	}
	for _, decl := range file.syntax.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && testName.MatchString(fn.Name.Name) {
			d.tests[fn.Name.Name] = append(d.tests[fn.Name.Name], file.pkg)
		}
	}
}

var (
	testName   = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)
	namedTest  = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	packageOr  = regexp.MustCompile("`([a-z_]+(?:/[a-z_]+)*)`:?\\s|" + namedTest.String())
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notAnchors = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// check returns what the documents refer to and is not there.
func (d *documents) check() []string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(d.texts)) {
		for i, line := range bytes.Split(d.texts[name], []byte("\n")) {
			at := fmt.Sprintf("%s:%d", name, i+1)
			for _, m := range link.FindAllSubmatch(line, -1) {
				faults = append(faults, d.link(at, name, string(m[1]))...)
			}
			faults = append(faults, d.named(at, string(line))...)
		}
	}
	return faults
}

// link checks one link of a document.
func (d *documents) link(at, from, to string) []string {
	if strings.Contains(to, "://") {
		return nil
	}
	file, anchor, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	if !d.exists(target) {
		return []string{at + ": links to " + to + ", which is not there"}
	}
	text, isDocument := d.texts[target]
	if anchor == "" || !isDocument {
		return nil
	}
	for _, h := range heading.FindAllSubmatch(text, -1) {
		if anchorOf(string(h[1])) == anchor {
			return nil
		}
	}
	return []string{at + ": links to " + to + ", and " + target + " has no such heading"}
}

// anchorOf returns what a heading is linked by.
func anchorOf(heading string) string {
	return strings.ReplaceAll(notAnchors.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// named checks the tests that a line names. A package in backquotes before them
// says where they are, if it is a package with tests.
func (d *documents) named(at, line string) []string {
	var faults []string
	pkg := ""
	for _, m := range packageOr.FindAllStringSubmatch(line, -1) {
		if m[1] != "" {
			pkg = ""
			if d.hasTests(m[1]) {
				pkg = m[1]
			}
			continue
		}
		where, ok := d.tests[m[0]]
		switch {
		case !ok:
			faults = append(faults, at+": names "+m[0]+", which is not there")
		case pkg != "" && !slices.Contains(where, pkg):
			faults = append(faults, fmt.Sprintf("%s: names %s in %s, it is in %s", at, m[0], pkg, strings.Join(where, " ")))
		}
	}
	return faults
}

// hasTests says whether a folder has tests.
func (d *documents) hasTests(pkg string) bool {
	for where := range maps.Values(d.tests) {
		if slices.Contains(where, pkg) {
			return true
		}
	}
	return false
}

func TestDocuments_planted(t *testing.T) {
	const other = "# One\n\n## Two, `three`: 4.ccs\n"
	tests := []struct{ name, text, want string }{
		{"link", "[x](b.md) [y](../b/c.md#two-three-4ccs) [z](https://x.example/y)", ""},
		{"link within", "# Here it is\n[x](#here-it-is)", ""},
		{"link to nothing", "[x](d.md)", "a/a.md:1: links to d.md"},
		{"link to no heading", "\n[x](../b/c.md#three)", "a/a.md:2: links to ../b/c.md#three, and b/c.md has no such heading"},
		{"test", "`server/lock`: TestStory, TestTwin; `fence` TestX", ""},
		{"test of no package", "see `TestStory`", ""},
		{"no such test", "see `TestStori`", "names TestStori, which is not there"},
		{"another package", "| x | `fence`: TestX, TestStory |", "names TestStory in fence, it is in server/lock"},
		{"story of a test", "`TestStory/gulm_*`", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := documents{
				texts: map[string][]byte{"a/a.md": []byte(test.text), "a/b.md": nil, "b/c.md": []byte(other)},
				tests: map[string][]string{"TestStory": {"server/lock"}, "TestTwin": {"server/lock"}, "TestX": {"fence"}},
			}
			d.exists = func(name string) bool { _, ok := d.texts[name]; return ok }
			expect(t, d.check(), test.want)
		})
	}
}
