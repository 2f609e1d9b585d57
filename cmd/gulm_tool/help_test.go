package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
)

// commands returns all commands below cmd, and cmd itself.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, below := range cmd.Commands() {
		all = append(all, commands(below)...)
	}
	return all
}

// TestHelp_everyCommand shows that each command explains itself, with an example
// of one line that its own flags and arguments accept.
func TestHelp_everyCommand(t *testing.T) {
	for _, cmd := range commands(rootCommand(&tool.Env{})) {
		path := cmd.CommandPath()
		t.Run(path, func(t *testing.T) {
			if cmd.Short == "" || cmd.Long == "" {
				t.Error("no description")
			}
			example := cmd.Example
			if !strings.HasPrefix(example, "  "+path) || strings.ContainsAny(example, "\n\t") {
				t.Fatalf("the example %q is not one line that begins with %q", example, "  "+path)
			}
			words := append([]string{"help"}, strings.Fields(path)[1:]...)
			for _, args := range [][]string{words, append(words[1:len(words):len(words)], "--help")} {
				if r := run(args...); r.Code != 0 || !strings.Contains(r.Stdout, example+"\n") || r.Stderr != "" {
					t.Errorf("%q: exit code %d, stdout:\n%s\nstderr:\n%s", args, r.Code, r.Stdout, r.Stderr)
				}
			}
			accepts(t, example)
		})
	}
}

// accepts tries the command line of an example as far as its flags and arguments.
func accepts(t *testing.T, example string) {
	t.Helper()
	var args []string
	for i, part := range strings.Split(example, `"`) {
		if i%2 == 1 {
			args = append(args, part) // quoted: one word
			continue
		}
		args = append(args, strings.Fields(part)...)
	}
	var called []string
	root := rootCommand(&tool.Env{})
	root.PersistentFlags().Bool("json", false, "")
	for _, cmd := range commands(root) {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			called = append(called, cmd.CommandPath())
			return nil
		}
	}
	root.SetArgs(args[1:])
	root.SilenceErrors, root.SilenceUsage = true, true
	if err := root.Execute(); err != nil || len(called) != 1 || !strings.HasPrefix(strings.TrimSpace(example), called[0]) {
		t.Errorf("the example %q calls %q: %v", example, called, err)
	}
}

// TestHelp_operations shows that the operator's handbook lists every command.
func TestHelp_operations(t *testing.T) {
	text, err := os.ReadFile("../../deploy/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range commands(rootCommand(&tool.Env{})) {
		if cmd.HasSubCommands() {
			continue // its verbs are listed
		}
		use := strings.TrimSuffix(cmd.CommandPath(), cmd.Name()) + cmd.Use
		if !strings.Contains(string(text), "| `"+use+"` |") {
			t.Errorf("operations.md has no row for `%s`", use)
		}
	}
}
