package lock

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/reason"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories answer into testdata")

// TestStory plays testdata/story: blocks of commands, ----, and what they
// answer. Each file begins with an empty table.
//
//	open S... [node=N]            sessions, each its own node unless said otherwise
//	join S NAME [policy=N] [lease=MS] [least=MS] [exclusive] [existing] [length=N] [keep]
//	leave S NUMBER [force]
//	lock S/ID RESOURCE MODE [FLAG...] [in NUMBER]
//	convert S/ID MODE [FLAG...] [value=TEXT]
//	unlock S/ID [FLAG...] [value=TEXT]
//	cancel S/ID                   deny S/ID deadlock|timeout
//	close S                       freeze S          release S
//	freeze-in S NUMBER [MASK]     bury S            bury-orphans NODE
//	release-in S NUMBER [MASK]    release-remains NODE NUMBER [MASK] [from=S]
//	doubt NODE                    trust NODE
//	gulm S/ID KEY STATE [FLAG...] [sub=N] [value=TEXT]            gulm-cancel S KEY [sub=N]
//	gulm-hold S/ID KEY            gulm-unhold S KEY
//	gulm-sync S KEY [sub=N] [value=TEXT]                          gulm-query S KEY STATE [sub=N]
//	purge NODE [from=S]           freeze-orphans NODE             release-orphans NODE
//	limits [locks=N] [resources=N] [lockspaces=N] [overtakes=N]
//	at INDEX                      of the log, for what follows
//	changed S SEEN                what session S is told that has seen SEEN
//	show RESOURCE [in NUMBER]     spaces            counts
//	set S/ID [FLAG...] [in NUMBER] ID:RESOURCE:MODE[:FLAG]...
//	watched                       requests with terms that wait, newest first
//	deadlocks                     and what confirms them again
//	resolve                       denies the victim of each deadlock, until there is none
//	waits RESOURCE                who waits for whom there
//	range S/ID FILE FIRST-LAST read|write [flock] [FLAG...]       range-unlock S FILE FIRST-LAST
//	range-test S FILE FIRST-LAST read|write                       range-close S [FILE]
//
// A lock, conversion, set or range may have owner=N and timeout=MS.
//
// FLAG is a flag's name in lower case; try, callback and quiet are short for
// noqueue, noqueuebast and nocallbacks; flags=HEX is any. A STATE is unl, exl, dfr
// or shr, with which go the FLAGs try, docb, any, noexp, priority and quiet. A NAME or RESOURCE may
// be quoted as in Go, or be WORD*N for WORD N times. A mode may be a number. The
// lockspace is 1 unless said otherwise. A value is shown without the zeros at its
// end.
func TestStory(t *testing.T) {
	files, err := filepath.Glob("testdata/story/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	tally, played := storyTally{}, 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			told := tell(t, string(data), tally)
			played++
			if *rewrite {
				if err := os.WriteFile(file, []byte(told), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if told != string(data) {
				t.Errorf("the story goes otherwise; -rewrite accepts it:\n%s", cmp.Diff(string(data), told))
			}
		})
	}
	if played == len(files) {
		tally.wantAll(t)
	}
}

// tell plays a story and returns it with the answers that were given.
func tell(t *testing.T, script string, tally storyTally) string {
	t.Helper()
	s := &story{table: New(Limits{}), tally: tally}
	s.table.Begin(1, 0)
	var out, answers strings.Builder
	inAnswer := false
	for line := range strings.Lines(strings.TrimRight(script, "\n") + "\n\n") {
		word := strings.TrimSpace(line)
		switch {
		case word == "" && inAnswer:
			out.WriteString(answers.String() + "\n")
			answers.Reset()
			inAnswer = false
		case inAnswer:
			// The old answer.
		case word == "----":
			out.WriteString(line)
			inAnswer = true
		case word == "" || strings.HasPrefix(word, "#"):
			out.WriteString(line)
		default:
			out.WriteString(line)
			answer, err := s.do(word)
			if err != nil {
				t.Fatalf("%s: %v", word, err)
			}
			answers.WriteString(answer)
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

type story struct {
	table *Table
	tally storyTally
}

// command is one line, taken apart.
type command struct {
	verb    string
	words   []string
	session Session
	id      ID
	flags   Flags
	space   uint32
	value   []byte
	options map[string]bool
	numbers map[string]uint64
}

// do runs one line and returns its answer: nothing, a reply, or a display,
// followed by what other sessions are told.
func (s *story) do(line string) (string, error) {
	c, err := parseCommand(line)
	if err != nil {
		return "", err
	}
	answer, err := s.run(c)
	if err != nil {
		return "", err
	}
	answer += showEvents("  ", s.table.TakeEvents())
	if err := deepCheck(s.table); err != nil {
		return "", err
	}
	again, ok := restored(s.table, slices.Reverse[[]ResourceState])
	if !ok || again.Digest() != s.table.Digest() {
		return "", fmt.Errorf("a snapshot here is refused or has another digest")
	}
	return answer, nil
}

// flagWords are the names of the flags.
var flagWords = map[string]Flags{
	"try": NoQueue, "callback": NoQueueBast, "quiet": NoCallbacks,
	"valblk": ValBlk, "quecvt": QueCvt, "ivvalblk": IvValBlk, "convdeadlk": ConvDeadlk, "persistent": Persistent,
	"nodlckwt": NoDlckWt, "expedite": Expedite, "headque": HeadQue, "noorder": NoOrder, "orphan": Orphan, "altpr": AltPR,
	"altcw": AltCW, "forceunlock": ForceUnlock, "recovery": Recovery, "limited": Timeout,
}

func parseCommand(line string) (*command, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	c := &command{verb: words[0], space: 1, options: map[string]bool{}, numbers: map[string]uint64{}}
	for i := 1; i < len(words); i++ {
		key, value, isNumber := strings.Cut(words[i], "=")
		switch {
		case flagWords[words[i]] != 0:
			c.flags |= flagWords[words[i]]
		case words[i] == "exclusive" || words[i] == "existing" || words[i] == "keep" || words[i] == "force":
			c.options[words[i]] = true
		case words[i] == "in" && i+1 < len(words):
			n, err := strconv.ParseUint(words[i+1], 10, 32)
			if err != nil {
				return nil, err
			}
			c.space = uint32(n)
			i++
		case key == "value" && isNumber:
			c.value = []byte(value)
		case isNumber:
			n, err := strconv.ParseUint(value, 0, 64)
			if err != nil {
				return nil, err
			}
			c.numbers[key] = n
		default:
			c.words = append(c.words, words[i])
		}
	}
	c.flags |= Flags(c.numbers["flags"])
	return c, c.parseOwner()
}

// parseOwner takes S/ID or S from the first word, which show has not.
func (c *command) parseOwner() error {
	if len(c.words) == 0 || c.verb == "show" || c.verb == "waits" {
		return nil
	}
	session, id, _ := strings.Cut(c.words[0], "/")
	n, err := strconv.ParseUint(session, 10, 64)
	if err != nil {
		return err
	}
	c.session = Session(n)
	if id != "" {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return err
		}
		c.id = ID(n)
	}
	return nil
}

// splitWords splits at blanks, undoes quotes and repeats WORD*N.
func splitWords(line string) ([]string, error) {
	var words []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			words, rest = append(words, word), rest[len(quoted):]
			continue
		}
		word, _, _ := strings.Cut(rest, " ")
		rest = rest[len(word):]
		if w, times, ok := strings.Cut(word, "*"); ok {
			n, err := strconv.Atoi(times)
			if err != nil {
				return nil, err
			}
			word = strings.Repeat(w, n)
		}
		words = append(words, word)
	}
	return words, nil
}

// arity is how many words each command needs.
var arity = map[string]int{
	"set": 1, "watched": 0, "deadlocks": 0, "resolve": 0, "waits": 1,
	"open": 1, "join": 2, "leave": 2, "lock": 3, "convert": 2, "unlock": 1, "cancel": 1, "deny": 2, "close": 1, "freeze": 1,
	"release": 1, "purge": 1, "freeze-orphans": 1, "release-orphans": 1, "limits": 0, "at": 1, "changed": 2, "show": 1,
	"spaces": 0, "counts": 0, "freeze-in": 2, "bury": 1, "bury-orphans": 1, "release-in": 2, "release-remains": 2, "doubt": 1,
	"trust": 1,
}

func (s *story) run(c *command) (string, error) {
	if isGulmVerb(c) {
		return s.gulm(c)
	}
	if n, ok := arity[c.verb]; !(ok || isRangeVerb(c)) || len(c.words) < n {
		return "", fmt.Errorf("no such command, or too few words")
	}
	switch c.verb {
	case "open", "close", "freeze", "release", "purge", "freeze-orphans", "release-orphans", "limits", "at":
		return s.manage(c)
	case "freeze-in", "bury", "bury-orphans", "release-in", "release-remains", "doubt", "trust":
		return s.bury(c)
	case "changed", "show", "spaces", "counts":
		return s.display(c)
	case "watched", "deadlocks", "resolve", "waits":
		return s.displayWaits(c)
	}
	if isRangeVerb(c) {
		r, err := s.byteRange(c)
		s.note(c, Mode(modes), r)
		return showReply(r) + showConflicts(r), err
	}
	before := s.held(c)
	r, err := s.request(c)
	s.note(c, before, r)
	return showReply(r), err
}

// request is what a session asks.
func (s *story) request(c *command) (r Reply, err error) {
	t := s.table
	switch c.verb {
	case "join":
		return t.Join(c.session, JoinRequest{
			Name: []byte(c.words[1]), Policy: Policy(c.numbers["policy"]), Lease: uint32(c.numbers["lease"]),
			MinLease: uint32(c.numbers["least"]), Exclusive: c.options["exclusive"],
			Existing: c.options["existing"], ValueLen: uint8(c.numbers["length"]), KeepValues: c.options["keep"],
		}), nil
	case "leave":
		n, err := strconv.ParseUint(c.words[1], 10, 32)
		return t.Leave(c.session, uint32(n), c.options["force"]), err
	case "lock":
		m, err := parseMode(c.words[2])
		return t.Lock(c.session, LockRequest{ID: c.id, Lockspace: c.space, Name: []byte(c.words[1]), Mode: m, Flags: c.flags, Terms: c.terms()}), err
	case "set":
		return s.lockSet(c)
	case "convert":
		m, err := parseMode(c.words[1])
		return t.Convert(c.session, ConvertRequest{ID: c.id, Mode: m, Flags: c.flags, Value: c.value, Terms: c.terms()}), err
	case "unlock":
		return t.Unlock(c.session, UnlockRequest{ID: c.id, Flags: c.flags, Value: c.value}), nil
	case "cancel":
		return t.Cancel(c.session, c.id), nil
	default: // deny
		why := reason.Deadlock
		if c.words[1] == "timeout" {
			why = reason.TimedOut
		}
		if !t.Deny(Denial{Session: c.session, ID: c.id, Reason: why, Since: c.numbers["since"]}) {
			r.Reason = reason.NotHeld
		} else {
			r.Outcome = denied
		}
		return r, nil
	}
}

// denied stands for a Deny that found what to deny.
const denied = Outcome(100)

// manage is what happens to a session without its asking.
func (s *story) manage(c *command) (string, error) {
	t := s.table
	switch c.verb {
	case "open":
		for _, w := range c.words {
			n, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return "", err
			}
			node := uint32(n)
			if c.numbers["node"] != 0 {
				node = uint32(c.numbers["node"])
			}
			t.Open(Session(n), node)
		}
	case "close":
		t.Close(c.session)
	case "freeze":
		t.Freeze(c.session)
	case "release":
		t.Release(c.session)
	case "purge":
		return fmt.Sprintf("%d gone\n", t.Purge(uint32(c.session), Session(c.numbers["from"]))), nil
	case "freeze-orphans":
		t.Freeze(OrphansOf(uint32(c.session)))
	case "release-orphans":
		t.Release(OrphansOf(uint32(c.session)))
	case "limits":
		t.SetLimits(Limits{c.numbers["locks"], c.numbers["resources"], c.numbers["lockspaces"], c.numbers["overtakes"]})
	case "at":
		t.Begin(uint64(c.session), int64(c.session)*10)
	}
	return "", nil
}
