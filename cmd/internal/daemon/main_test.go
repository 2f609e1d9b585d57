package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lock_gulmd/fence"
)

func TestMain(m *testing.M) {
	fence.Supervise()
	testscript.Main(m, map[string]func(){
		"lock_gulmd": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	examples, err := filepath.Abs("../../../deploy/examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCode, "cmpenv-head": compareHead},
	})
}

// exitCode is "exitcode N COMMAND...".
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}

// compareHead is "cmpenv-head FILE HEAD": FILE begins with HEAD, variables
// expanded and runs of blanks taken for one.
func compareHead(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cmpenv-head FILE HEAD")
	}
	got := squeeze(ts.ReadFile(args[0]))
	want := squeeze(os.Expand(ts.ReadFile(args[1]), ts.Getenv))
	for i, line := range want {
		if i >= len(got) || got[i] != line {
			ts.Fatalf("line %d of %s: want %q in\n%s", i+1, args[0], line, strings.Join(got, "\n"))
		}
	}
}

func squeeze(text string) []string {
	var out []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}
