package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenario is one recorded conversation about one resource.
type scenario struct {
	number string
	title  string
	steps  []oracleStep
}

// oracleStep is one call and what came of it.
type oracleStep struct {
	call  string
	verb  string
	owner string
	mode  string
	flags uint64
	errno string   // of the call itself, "" if accepted
	casts []string // "b bast", "b cast st=EUNLOCK fl=0 lvb=", by owner
}

// oracleFiles are the records: those beside the repository where there are
// such, else the copy.
func oracleFiles(t *testing.T) []string {
	t.Helper()
	for _, pattern := range []string{"../../../shared/oracle/*.txt", "testdata/oracle/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) > 0 {
			return files
		}
	}
	t.Fatal("no recorded answers")
	return nil
}

func readOracle(t *testing.T) []scenario {
	t.Helper()
	var all []scenario
	for _, file := range oracleFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			if err := readLine(&all, line); err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
		}
	}
	for _, sc := range all {
		for _, st := range sc.steps {
			byOwner(st.casts)
		}
	}
	return all
}

// byOwner sorts what came of a call: between owners the order is open, to each
// one of them it is not.
func byOwner(casts []string) {
	slices.SortStableFunc(casts, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0])
	})
}

func readLine(all *[]scenario, line string) error {
	if head, ok := strings.CutPrefix(line, "== "); ok {
		number, title, _ := strings.Cut(head, " ")
		*all = append(*all, scenario{number: number, title: title})
		return nil
	}
	if len(*all) == 0 {
		return fmt.Errorf("no scenario yet: %q", line)
	}
	sc := &(*all)[len(*all)-1]
	fields := strings.Fields(line)
	switch {
	case !strings.HasPrefix(line, " "):
		st, err := readCall(line)
		if err != nil {
			return err
		}
		sc.steps = append(sc.steps, st)
	case len(sc.steps) == 0 || len(fields) < 2:
		return fmt.Errorf("no call yet: %q", line)
	case fields[0] == "bast" || fields[0] == "cast" && len(fields) > 2:
		st := &sc.steps[len(sc.steps)-1]
		st.casts = append(st.casts, strings.Join(append([]string{fields[1], fields[0]}, fields[2:]...), " "))
	default:
		return fmt.Errorf("neither call nor answer: %q", line)
	}
	return nil
}

var (
	lockCall  = regexp.MustCompile(`^(lock|unlock) (\w+)(?: (\w+))? f=([0-9a-f]+) -> (?:0|-1 (\w+))$`)
	adoptCall = regexp.MustCompile(`^(adopt) (\w+) -> (?:0 lkid set|-1 (\w+))$`)
	otherCall = regexp.MustCompile(`^(purge|dc|newexcl|open|name)\b.*?\b(?:0|(E\w+))$`)
)

// readCall reads the line of a call.
func readCall(line string) (oracleStep, error) {
	st := oracleStep{call: line}
	var err error
	if m := lockCall.FindStringSubmatch(line); m != nil {
		st.verb, st.owner, st.mode, st.errno = m[1], m[2], m[3], m[5]
		st.flags, err = strconv.ParseUint(m[4], 16, 32)
	} else if m := adoptCall.FindStringSubmatch(line); m != nil {
		st.verb, st.mode, st.errno = m[1], m[2], m[3]
	} else if m := otherCall.FindStringSubmatch(line); m != nil {
		st.verb, st.errno = m[1], m[2]
	} else {
		err = fmt.Errorf("no such call: %q", line)
	}
	return st, err
}
