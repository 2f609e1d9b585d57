package lock

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories answer into testdata")

// TestStory plays testdata/story: blocks of commands, ----, and what they
// answer. Each file begins with an empty table.
//
//	open S...                     sessions
//	join S NAME [policy=N]        leave S NUMBER
//	lock S/ID RESOURCE MODE [try] [callback] [quiet] [flags=HEX] [in NUMBER]
//	convert S/ID MODE [try] [callback] [flags=HEX]
//	unlock S/ID                   cancel S/ID
//	freeze S                      release S
//	limits [locks=N] [resources=N] [lockspaces=N]
//	at INDEX                      of the log, for what follows
//	changed S SEEN                what session S is told that has seen SEEN
//	show RESOURCE [in NUMBER]     spaces             counts
//
// A NAME or RESOURCE may be quoted as in Go, or be WORD*N for WORD N times.
// A mode may be a number. The lockspace is 1 unless said otherwise.
func TestStory(t *testing.T) {
	files, err := filepath.Glob("testdata/story/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			told := tell(t, string(data))
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
}

// tell plays a story and returns it with the answers that were given.
func tell(t *testing.T, script string) string {
	t.Helper()
	s := &story{table: New(Limits{})}
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

type story struct{ table *Table }

// command is one line, taken apart.
type command struct {
	verb    string
	words   []string
	session Session
	id      ID
	flags   Flags
	space   uint32
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

func parseCommand(line string) (*command, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	c := &command{verb: words[0], space: 1, numbers: map[string]uint64{}}
	for i := 1; i < len(words); i++ {
		key, value, isNumber := strings.Cut(words[i], "=")
		switch {
		case words[i] == "try":
			c.flags |= NoQueue
		case words[i] == "callback":
			c.flags |= NoQueueBast
		case words[i] == "quiet":
			c.flags |= NoCallbacks
		case words[i] == "in" && i+1 < len(words):
			n, err := strconv.ParseUint(words[i+1], 10, 32)
			if err != nil {
				return nil, err
			}
			c.space = uint32(n)
			i++
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
	if len(c.words) == 0 || c.verb == "show" {
		return c, nil
	}
	session, id, _ := strings.Cut(c.words[0], "/")
	n, err := strconv.ParseUint(session, 10, 64)
	if err != nil {
		return nil, err
	}
	c.session = Session(n)
	if id != "" {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, err
		}
		c.id = ID(n)
	}
	return c, nil
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
	"open": 1, "join": 2, "leave": 2, "lock": 3, "convert": 2, "unlock": 1, "cancel": 1, "freeze": 1, "release": 1,
	"limits": 0, "at": 1, "changed": 2, "show": 1, "spaces": 0, "counts": 0,
}

func (s *story) run(c *command) (string, error) {
	t := s.table
	if n, ok := arity[c.verb]; !ok || len(c.words) < n {
		return "", fmt.Errorf("no such command, or too few words")
	}
	switch c.verb {
	case "open":
		for _, w := range c.words {
			n, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return "", err
			}
			t.Open(Session(n))
		}
	case "join":
		return showReply(t.Join(c.session, []byte(c.words[1]), Policy(c.numbers["policy"]))), nil
	case "leave":
		n, err := strconv.ParseUint(c.words[1], 10, 32)
		return showReply(t.Leave(c.session, uint32(n))), err
	case "lock":
		m, err := parseMode(c.words[2])
		req := LockRequest{ID: c.id, Lockspace: c.space, Name: []byte(c.words[1]), Mode: m, Flags: c.flags}
		return showReply(t.Lock(c.session, req)), err
	case "convert":
		m, err := parseMode(c.words[1])
		return showReply(t.Convert(c.session, c.id, m, c.flags)), err
	case "unlock":
		return showReply(t.Unlock(c.session, c.id)), nil
	case "cancel":
		return showReply(t.Cancel(c.session, c.id)), nil
	case "freeze":
		t.Freeze(c.session)
	case "release":
		t.Release(c.session)
	case "limits":
		t.SetLimits(Limits{c.numbers["locks"], c.numbers["resources"], c.numbers["lockspaces"]})
	default:
		return s.display(c)
	}
	return "", nil
}

func (s *story) display(c *command) (string, error) {
	t := s.table
	switch c.verb {
	case "at":
		t.Begin(uint64(c.session), int64(c.session)*10)
	case "changed":
		n, err := strconv.ParseUint(c.words[1], 10, 64)
		return showEvents("", t.Changed(c.session, n, nil)), err
	case "show":
		r, ok := t.Resource(c.space, []byte(c.words[0]))
		if !ok {
			return "no such resource\n", nil
		}
		return showResource(&r), nil
	case "spaces":
		var b strings.Builder
		for _, sp := range t.Spaces() {
			fmt.Fprintf(&b, "%d %.20q(%d) members %v\n", sp.Number, sp.Name, len(sp.Name), sp.Members)
		}
		return b.String(), nil
	case "counts":
		return fmt.Sprintf("%+v\n", t.Counts()), nil
	}
	return "", nil
}

func parseMode(word string) (Mode, error) {
	if i := slices.Index(modeNames[:], word); i >= 0 {
		return Mode(i), nil
	}
	n, err := strconv.ParseUint(word, 10, 8)
	return Mode(n), err
}

func showReply(r Reply) string {
	switch r.Outcome {
	case Refused:
		return fmt.Sprintf("refused %v\n", r.Reason)
	case Granted:
		return fmt.Sprintf("granted %v token %d\n", r.Mode, r.Token)
	case Queued:
		return fmt.Sprintf("queued %v\n", r.Mode)
	case Unlocked:
		return "unlocked\n"
	case Cancelled:
		return fmt.Sprintf("cancelled %v token %d\n", r.Mode, r.Token)
	case Joined:
		return fmt.Sprintf("joined %d\n", r.Number)
	case Left:
		return "left\n"
	}
	return fmt.Sprintf("outcome %d\n", r.Outcome)
}

func showEvents(indent string, events []Event) string {
	var b strings.Builder
	for _, e := range events {
		if e.Kind == EventGranted {
			fmt.Fprintf(&b, "%s%d/%d granted %v token %d\n", indent, e.Session, e.Lock, e.Mode, e.Token)
		} else {
			fmt.Fprintf(&b, "%s%d/%d give way to %v\n", indent, e.Session, e.Lock, e.Mode)
		}
	}
	return b.String()
}

func showResource(r *ResourceState) string {
	var b bytes.Buffer
	for _, l := range r.Locks {
		fmt.Fprintf(&b, "%d/%d ", l.Session, l.ID)
		switch l.Queue {
		case QueueGranted:
			fmt.Fprintf(&b, "holds %v", l.Granted)
		case QueueConverting:
			fmt.Fprintf(&b, "holds %v, wants %v", l.Granted, l.Requested)
		case QueueWaiting:
			fmt.Fprintf(&b, "wants %v", l.Requested)
		}
		if l.Token != 0 {
			fmt.Fprintf(&b, ", token %d", l.Token)
		}
		if l.Blocking != 0 {
			fmt.Fprintf(&b, ", asked for")
			for m := range Mode(modes) {
				if modeSet(l.Blocking).has(m) {
					fmt.Fprintf(&b, " %v", m)
				}
			}
		}
		if l.Frozen {
			b.WriteString(", frozen")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
