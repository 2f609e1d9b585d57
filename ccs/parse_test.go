package ccs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// render writes a tree without its lines.
func render(t testing.TB, s *section) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"identifiers", "9.lives = 1 a_$-.b = 2 A = 3 a = 4", "9.lives = 1\na_$-.b = 2\nA = 3\na = 4\n"},
		{"numbers as names", "4 { 5 = 6 }", "4 { 5 = 6 }\n"},
		{"repeated keys", "a = 1 b { } a = 2 b { }", "a = 1\nb { }\na = 2\nb { }\n"},
		{"no white space", "a{b=1 c=[1,2]d='x'}", "a { b = 1 c = [1, 2] d = \"x\" }\n"},
		{"comments", "# one\na = 1 # two\n# three", "a = 1\n"},
		{"hash in a string", `a = "#1" b = '#2'`, "a = \"#1\"\nb = \"#2\"\n"},
		{"escapes", `a = "\n\t\\\"\$\'"`, `a = "\n\t\\\"\$'"` + "\n"},
		{"raw strings", `a = '\n$"'`, `a = "\\n\$\""` + "\n"},
		{"empty strings", `a = "" b = ''`, "a = \"\"\nb = \"\"\n"},
		{"arrays", `a = [] b = ["x" 'y', 3 4.5,]`, "a = []\nb = [\"x\", \"y\", 3, 4.5]\n"},
		{"floats", "a = 1.5 b = .5 c = 5. d = 1e3 e = 1e-3 f = 2E+2 g = -0.5", "a = 1.5\nb = .5\nc = 5.\nd = 1e3\ne = 1e-3\nf = 2E+2\ng = -0.5\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, faults := parseFile(ClusterFile, []byte(c.text))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if got := render(t, root); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestIntegers(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "7": 7, "-7": -7, "010": 8, "-010": -8, "0x1f": 31, "0X1F": 31, "-0x10": -16,
		"9223372036854775807": 1<<63 - 1,
	} {
		root, faults := parseFile(ClusterFile, []byte("a = "+text))
		if len(faults) > 0 || root.items[0].val.kind != kindInt || root.items[0].val.num != want {
			t.Errorf("%s reads as %+v, faults %v", text, root.items, faults)
		}
	}
	for _, text := range []string{"08", "0b1", "0o7", "1_000", "0x", "0xg", "1-2", "--1", "+1", "1.2.3", "1e", "1e999", "0x1p4", "inf", "nan", "9223372036854775808", "-", ".", "$1"} {
		if _, faults := parseFile(ClusterFile, []byte("a = "+text)); len(faults) != 1 {
			t.Errorf("%s: %d faults", text, len(faults))
		}
	}
}

// TestParserGoesOn proves that one look shows the broken lines of a file.
func TestParserGoesOn(t *testing.T) {
	text := `a = one
b = "x$y" c = "second fault of the line
d = 1
= 5
e { f "g"
  h = [1, two,
       three] }
i = ;
j = 2`
	_, faults := parseFile(ClusterFile, []byte(text))
	var lines []int
	for _, f := range faults {
		lines = append(lines, f.Line)
	}
	if want := []int{1, 2, 4, 5, 6, 7, 8}; !slices.Equal(lines, want) {
		t.Errorf("faults on lines %v, want %v: %v", lines, want, faults)
	}
	_, faults = parseFile(ClusterFile, []byte(strings.Repeat("a = b\n", 100)))
	if len(faults) != maxSyntaxFaults {
		t.Errorf("a hopeless file has %d faults, want %d", len(faults), maxSyntaxFaults)
	}
}

func TestLimits(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("a {", n) + strings.Repeat("}", n)) }
	if _, faults := parseFile(NodesFile, nest(maxDepth)); len(faults) > 0 {
		t.Errorf("%d sections within each other: %v", maxDepth, faults)
	}
	if _, faults := parseFile(NodesFile, nest(maxDepth+1)); len(faults) != 1 {
		t.Errorf("%d sections within each other: %v", maxDepth+1, faults)
	}
	if _, faults := parseFile(NodesFile, nest(1<<20)); len(faults) != 1 {
		t.Errorf("very many sections within each other: %v", faults)
	}
	if _, faults := parseFile(NodesFile, []byte(strings.Repeat("a", maxName+1)+" = 1")); len(faults) != 1 {
		t.Errorf("a long name: %v", faults)
	}
}

// addSeeds adds the files of testdata and the examples as seeds.
func addSeeds(f *testing.F, add func(Source)) {
	f.Helper()
	dirs, err := filepath.Glob("testdata/*/*/" + ClusterFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		read := func(name string) []byte {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return nil // folders of bad configurations may lack files
			}
			return data
		}
		add(Source{Cluster: read(ClusterFile), Nodes: read(NodesFile), Fence: read(FenceFile)})
	}
}

// FuzzParse: no input panics, every fault has a line and a cure, and a tree
// that is printed parses to the same tree.
func FuzzParse(f *testing.F) {
	addSeeds(f, func(s Source) {
		f.Add(s.Cluster)
		f.Add(s.Nodes)
		f.Add(s.Fence)
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		root, faults := parseFile(NodesFile, data)
		for _, fault := range faults {
			if fault.Text == "" || fault.Cure == "" || strings.Contains(fault.String(), "\n") || fault.Line > bytes.Count(data, []byte("\n"))+1 {
				t.Fatalf("the fault %q is no good", fault)
			}
		}
		if len(faults) > 0 || len(root.items) == 0 {
			return
		}
		text := render(t, root)
		second, faults := parseFile(NodesFile, []byte(text))
		if len(faults) > 0 {
			t.Fatalf("what was printed is refused: %v\n%s", faults, text)
		}
		if again := render(t, second); again != text {
			t.Fatalf("printed twice:\n%s\n%s", text, again)
		}
	})
}

// FuzzConfig: no input panics, faults are faults, and a configuration that is
// printed is accepted and prints the same.
func FuzzConfig(f *testing.F) {
	addSeeds(f, func(s Source) { f.Add(s.Cluster, s.Nodes, s.Fence) })
	f.Fuzz(func(t *testing.T, cluster, nodes, fence []byte) {
		cfg, err := Parse(Source{Dir: t.TempDir(), Cluster: cluster, Nodes: nodes, Fence: fence})
		if err != nil {
			faults, ok := err.(*Faults)
			if !ok || len(faults.List) == 0 || cfg != nil {
				t.Fatalf("got %v, %#v", cfg, err)
			}
			return
		}
		text := printed(t, cfg)
		if second := printed(t, again(t, cfg)); second != text {
			t.Fatalf("printed twice:\n%s\n%s", text, second)
		}
		for _, n := range cfg.Nodes {
			plan, ok := cfg.FencePlan(n.Name)
			if !ok && cfg.IsServer(n.Name) && !cfg.Lock.FenceServers && len(n.Methods) == 0 {
				continue
			}
			if !ok || len(plan.Methods) == 0 {
				t.Fatalf("no plan for node %q", n.Name)
			}
			for _, m := range plan.Methods {
				if len(m.Steps) == 0 {
					t.Fatalf("method %q of node %q is empty", m.Name, n.Name)
				}
				for _, s := range m.Steps {
					for _, p := range s.Params {
						if strings.ContainsAny(p.Value, "\r\n") {
							t.Fatalf("the parameter %q of %q has several lines", p.Key, s.Device)
						}
					}
				}
			}
		}
	})
}
