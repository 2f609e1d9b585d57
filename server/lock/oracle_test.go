package lock

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lock_gulmd/server/reason"
)

// notReplayed are the recorded scenarios that need what this version does not
// have, and what that is.
var notReplayed = map[string]string{
	"3":   "EXPEDITE, VALBLK",
	"3b":  "VALBLK",
	"3c":  "IVVALBLK",
	"4b":  "CONVDEADLK",
	"5":   "ALTPR, ALTCW",
	"6":   "EXPEDITE",
	"7":   "FORCEUNLOCK",
	"9":   "EXPEDITE",
	"10":  "HEADQUE",
	"10b": "NOORDER",
	"11":  "EXPEDITE, QUECVT",
	"11b": "EXPEDITE",
	"12":  "EXPEDITE, VALBLK",
	"13":  "PERSISTENT",
	"14":  "exclusive and non-creating open of a lockspace",
	"15":  "deadlock_cancel",
}

// The flags of libdlm's calls that say which operation is meant.
const (
	dlmCancel  = 0x2
	dlmConvert = 0x4
	known      = uint64(NoQueue | NoQueueBast | dlmCancel | dlmConvert)
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
	verb  string // "" if the call is none of lock and unlock
	owner string
	mode  string
	flags uint64
	errno string   // of the call itself, "" if accepted
	casts []string // "b bast", "b EUNLOCK", by owner
}

// TestOracle compares the engine with the recorded answers of a kernel's DLM.
func TestOracle(t *testing.T) {
	replayed := map[string]bool{}
	for _, sc := range readOracle(t) {
		missing := sc.missing()
		if why, ok := notReplayed[sc.number]; ok {
			if missing == "" {
				t.Errorf("scenario %s can be replayed; it is listed as needing %s", sc.number, why)
			}
			replayed[sc.number] = false
			continue
		}
		if missing != "" {
			t.Errorf("scenario %s needs %s and is not listed", sc.number, missing)
			continue
		}
		replayed[sc.number] = true
		t.Run(sc.number+" "+sc.title, func(t *testing.T) { replay(t, sc) })
	}
	for number := range notReplayed {
		if _, ok := replayed[number]; !ok {
			t.Errorf("scenario %s is listed and not recorded", number)
		}
	}
	maps.DeleteFunc(replayed, func(_ string, done bool) bool { return !done })
	want := []string{"1", "2", "4", "8", "8b"}
	if got := slices.Sorted(maps.Keys(replayed)); !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
}

// missing names a call that this version cannot make. Flags that it does not
// know do no harm where the kernel refuses the call too.
func (sc *scenario) missing() string {
	for _, st := range sc.steps {
		if st.verb == "" || st.errno != "EINVAL" && st.flags&^known != 0 {
			return st.call
		}
	}
	return ""
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

var callLine = regexp.MustCompile(`^(lock|unlock) (\w+)(?: (\w+))? f=([0-9a-f]+) -> (?:0|-1 (\w+))$`)

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
		st := oracleStep{call: line}
		if m := callLine.FindStringSubmatch(line); m != nil {
			flags, err := strconv.ParseUint(m[4], 16, 32)
			if err != nil {
				return err
			}
			st.verb, st.owner, st.mode, st.flags, st.errno = m[1], m[2], m[3], flags, m[5]
		}
		sc.steps = append(sc.steps, st)
	case len(sc.steps) == 0 || len(fields) < 2:
		return fmt.Errorf("no call yet: %q", line)
	case fields[0] == "bast":
		st := &sc.steps[len(sc.steps)-1]
		st.casts = append(st.casts, fields[1]+" bast")
	case fields[0] == "cast" && len(fields) > 2:
		st := &sc.steps[len(sc.steps)-1]
		st.casts = append(st.casts, fields[1]+" "+strings.TrimPrefix(fields[2], "st="))
	default:
		return fmt.Errorf("neither call nor answer: %q", line)
	}
	return nil
}

// replay makes the calls of a scenario: each owner is a session with one lock.
func replay(t *testing.T, sc scenario) {
	table := New(Limits{})
	var sessions []string
	for i, st := range sc.steps {
		table.Begin(uint64(i+1), 0)
		session := Session(slices.Index(sessions, st.owner) + 1)
		if session == 0 {
			sessions = append(sessions, st.owner)
			session = Session(len(sessions))
			table.Open(session)
			table.Join(session, []byte("oracle"), PolicyFence)
		}
		errno, casts := st.answer(call(t, table, session, st))
		for _, e := range table.TakeEvents() {
			what := " bast"
			if e.Kind == EventGranted {
				what = " 0"
			}
			casts = append(casts, sessions[e.Session-1]+what)
		}
		byOwner(casts)
		if errno != st.errno || !slices.Equal(casts, st.casts) {
			t.Errorf("%s\n got %q %q\nwant %q %q", st.call, errno, casts, st.errno, st.casts)
		}
		if err := deepCheck(table); err != nil {
			t.Fatal(err)
		}
	}
}

func call(t *testing.T, table *Table, session Session, st oracleStep) Reply {
	t.Helper()
	if st.verb == "unlock" {
		if st.flags&dlmCancel != 0 {
			return table.Cancel(session, 1)
		}
		return table.Unlock(session, 1)
	}
	mode, err := parseMode(st.mode)
	if err != nil {
		t.Fatal(err)
	}
	if st.flags&dlmConvert != 0 {
		return table.Convert(session, 1, mode, Flags(st.flags&^dlmConvert))
	}
	return table.Lock(session, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: mode, Flags: Flags(st.flags)})
}

// answer says in the DLM's words what a reply is: the error of the call itself
// or the completions that follow.
func (st oracleStep) answer(r Reply) (errno string, casts []string) {
	cast := func(status string) (string, []string) { return "", []string{st.owner + " " + status} }
	switch r.Outcome {
	case Granted:
		if st.verb == "unlock" {
			return "", nil // cancelled too late
		}
		return cast("0")
	case Queued:
		return "", nil
	case Unlocked:
		return cast("EUNLOCK")
	case Cancelled:
		return cast("ECANCEL")
	case Refused, Joined, Left:
	}
	switch r.Reason {
	case reason.TryFailed:
		return cast("EAGAIN")
	case reason.Deadlock:
		return cast("EDEADLK")
	case reason.Busy:
		return "EBUSY", nil
	case reason.NotHeld:
		return "ENOENT", nil
	case reason.Invalid:
		return "EINVAL", nil
	default:
		return r.Reason.String(), nil
	}
}
