package ci

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// word is one that the repository does not use.
type word struct {
	pattern *regexp.Regexp
	// files says where it is looked for.
	files func(name string) bool
	// unless, if a line matches it too, lets the line pass.
	unless *regexp.Regexp
	why    string
}

// words keeps the vocabulary of ARCHITECTURE.md. This package names them all,
// so it is left out.
var words = []word{
	{
		pattern: regexp.MustCompile(`(?i)slave`),
		files:   everywhere,
		unless:  regexp.MustCompile(`(?i)gulm'?s|original|conversion of|legacy`),
		why:     "say standby; only a line that cites the original GULM may use its word",
	},
	{
		pattern: regexp.MustCompile(`(?i)stonith|stomith`),
		files:   goAndProto,
		unless:  regexp.MustCompile(`//`),
		why:     "say fence",
	},
	{
		pattern: regexp.MustCompile(`[Ll]eaders?([^s\w]|[A-Z_]|$)`),
		files:   notRaft,
		// Names of the raft adapter's may be used, not made.
		unless: regexp.MustCompile(`(?i)\braft|\.VerifyLeader\(|\.TransferLeadership\(|ErrNotLeader|\b(s|st|status)\.Leader\b`),
		why:    "say master; leader is raft's word and stays in server/replica",
	},
	{
		pattern: regexp.MustCompile(`\b(FIXME|XXX|HACK)\b`),
		files:   goAndProto,
		why:     "fix it, or write TODO(#number): what and why",
	},
	{
		pattern: regexp.MustCompile(`\bTODO\b`),
		files:   everywhere,
		unless:  regexp.MustCompile(`\bTODO\(#\d+\): \S+ \S+`),
		why:     "a TODO carries the number of its issue and a reason: TODO(#number): what and why",
	},
}

// textSuffixes are the files that people write.
var textSuffixes = []string{
	".go", ".proto", ".md", ".sh", ".ccs", ".toml", ".yaml", ".yml", ".json", ".txt", ".service", ".conf", ".mod", ".html", ".css",
}

func everywhere(string) bool { return true }

func goAndProto(name string) bool {
	return (strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".pb.go")) || strings.HasSuffix(name, ".proto")
}

// notRaft are the sources above the raft adapter. Package fence is not among
// them: there a leader is that of a process group.
func notRaft(name string) bool {
	for _, folder := range []string{"server/replica/", "server/gulmtest/", "fence/"} {
		if strings.HasPrefix(name, folder) {
			return false
		}
	}
	return goAndProto(name)
}

// isText says whether a file is one that people write: those without a suffix
// are scripts.
func isText(name string) bool {
	suffix := filepath.Ext(name)
	for _, s := range textSuffixes {
		if suffix == s {
			return true
		}
	}
	return suffix == "" || strings.HasPrefix(filepath.Base(name), ".")
}

func TestWords(t *testing.T) {
	m := theModule(t)
	here := ownDirectory(m.root)
	err := m.walk(func(name, path string) error {
		if !isText(name) || strings.HasPrefix(name, "deploy/ci/") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil || bytes.IndexByte(data, 0) >= 0 {
			return err // a binary that lies about is git's to ignore
		}
		all := words
		if here != nil {
			all = append(all[:len(all):len(all)], *here)
		}
		report(t, checkWords(all, name, string(data)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ownDirectory forbids the name of the directory that the repository happens
// to be checked out in: on the next machine it is another. A directory directly
// below / has too short a name to look for.
func ownDirectory(root string) *word {
	if strings.Count(filepath.ToSlash(root), "/") < 2 {
		return nil
	}
	return &word{
		pattern: regexp.MustCompile(regexp.QuoteMeta(root) + `([^\w-]|$)`),
		files:   everywhere,
		why:     "no file may depend on where the repository lies",
	}
}

// checkWords returns the lines of one file that use a word that they should not.
func checkWords(words []word, name, text string) []string {
	var faults []string
	for i, line := range strings.Split(text, "\n") {
		for _, w := range words {
			if !w.files(name) || !w.pattern.MatchString(line) || w.unless != nil && w.unless.MatchString(line) {
				continue
			}
			faults = append(faults, fmt.Sprintf("%s:%d: %q: %s", name, i+1, w.pattern.FindString(line), w.why))
		}
	}
	return faults
}
