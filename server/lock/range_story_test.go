package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRangeStory plays testdata/range: blocks of commands, ----, and what they
// answer. Each file begins with an empty table; -rewrite writes the answers.
//
//	lock S/N FILE RANGE KIND [ID]  ask, and wait as ID if one is given
//	flock S/N FILE KIND [ID]
//	unlock S/N FILE RANGE
//	test S/N FILE RANGE KIND [LIMIT]
//	cancel S ID
//	close S/N [FILE]
//	freeze S                       release S
//	limit N
//	show FILE                      counts
//
// A RANGE is FIRST-LAST, or FIRST- to infinity; a KIND is read, write or a number.
func TestRangeStory(t *testing.T) {
	files, err := filepath.Glob("testdata/range/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			told := tellRanges(t, string(data))
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

// tellRanges plays a story and returns it with the answers that were given.
func tellRanges(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	table := &rangeTable{}
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		commands, _, answered := strings.Cut(block, "\n----")
		var answers strings.Builder
		for line := range strings.Lines(commands + "\n") {
			out.WriteString(line)
			words := strings.Fields(line)
			if len(words) == 0 || words[0][0] == '#' {
				continue
			}
			answer, err := tellRange(table, words)
			if err == nil {
				err = deepCheckRanges(table)
			}
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			answers.WriteString(answer)
			again, ok := restoredRanges(table, 0, 7)
			if !ok || digestOfRanges(again, 7) != digestOfRanges(table, 0) {
				t.Fatalf("%s: a snapshot here is refused or has another digest", line)
			}
		}
		if answered || answers.Len() > 0 {
			out.WriteString("----\n" + answers.String())
		}
		out.WriteString("\n")
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// rangeWords takes the words of a command apart; what is missing is 0.
type rangeWords struct {
	words []string
	err   error
}

func (w *rangeWords) next() string {
	if len(w.words) == 0 {
		return ""
	}
	word := w.words[0]
	w.words = w.words[1:]
	return word
}

func (w *rangeWords) parse(word string) uint64 {
	if word == "" {
		return 0
	}
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		w.err = err
	}
	return n
}

func (w *rangeWords) number() uint64 { return w.parse(w.next()) }

func (w *rangeWords) owner() RangeOwner {
	session, number, _ := strings.Cut(w.next(), "/")
	return RangeOwner{Session: Session(w.parse(session)), Number: w.parse(number)}
}

func (w *rangeWords) span() (start, end uint64) {
	first, last, _ := strings.Cut(w.next(), "-")
	if last == "" {
		last = strconv.Itoa(RangeMax)
	}
	return w.parse(first), w.parse(last)
}

func (w *rangeWords) kind() RangeKind {
	switch word := w.next(); word {
	case "read":
		return RangeRead
	case "write":
		return RangeWrite
	default:
		return RangeKind(w.parse(word))
	}
}

// tellRange runs one command and returns its answer and the events.
func tellRange(t *rangeTable, words []string) (string, error) {
	w := &rangeWords{words: words[1:]}
	var req rangeRequest
	answer := ""
	switch words[0] {
	case "lock", "flock":
		req.Owner, req.File = w.owner(), uint32(w.number())
		do := t.Flock
		if words[0] == "lock" {
			do = t.Lock
			req.Start, req.End = w.span()
		}
		req.Kind, req.Wait = w.kind(), len(w.words) > 0
		req.ID = ID(w.number())
		answer = showRangeReply(do(req))
	case "unlock":
		req.Owner, req.File = w.owner(), uint32(w.number())
		req.Start, req.End = w.span()
		answer = showRangeReply(t.Unlock(req.Owner, req.File, req.Start, req.End))
	case "test":
		req.Owner, req.File = w.owner(), uint32(w.number())
		req.Start, req.End = w.span()
		req.Kind = w.kind()
		answer = showRangeTest(t, req, int(w.number()))
	case "cancel":
		s := Session(w.number())
		answer = showRangeReply(t.Cancel(s, ID(w.number())))
	case "close":
		req.Owner = w.owner()
		if len(w.words) > 0 {
			answer = showRangeReply(t.CloseFile(req.Owner, uint32(w.number())))
		} else {
			answer = showRangeReply(t.CloseOwner(req.Owner, everyFile))
		}
	case "freeze":
		t.Freeze(Session(w.number()))
	case "release":
		t.Release(Session(w.number()))
	case "limit":
		t.SetLimit(w.number())
	case "show":
		answer = showRangeFile(t, uint32(w.number()))
	case "counts":
		answer = fmt.Sprintf("%+v\n", t.Counts())
	default:
		return "", fmt.Errorf("no such command")
	}
	if w.err != nil || len(w.words) > 0 {
		return "", fmt.Errorf("cannot be understood: %v", w.err)
	}
	for _, e := range t.TakeEvents() {
		answer += fmt.Sprintf("  %d/%d granted %d in file %d\n", e.Owner.Session, e.Owner.Number, e.ID, e.File)
	}
	return answer, nil
}

func showRangeReply(r rangeReply) string {
	switch r.Outcome {
	case Granted:
		return "granted\n"
	case Queued:
		return "queued\n"
	case Unlocked:
		return "unlocked\n"
	case Cancelled:
		return "cancelled\n"
	default:
		return fmt.Sprintf("refused %v\n", r.Reason)
	}
}

func showSpan(start, end uint64, kind RangeKind) string {
	last := ""
	if end < RangeMax {
		last = strconv.FormatUint(end, 10)
	}
	return fmt.Sprintf("%d-%s %s", start, last, [...]string{"read", "write"}[kind])
}

func showRangeTest(t *rangeTable, req rangeRequest, limit int) string {
	found, more, why := t.Test(req.Owner, req.File, rangeSpan{req.Start, req.End, req.Kind}, 0, limit)
	var b strings.Builder
	if why != 0 {
		fmt.Fprintf(&b, "refused %v\n", why)
	} else if len(found) == 0 {
		b.WriteString("free\n")
	}
	for _, c := range found {
		verb := "has"
		if c.Waiting {
			verb = "wants"
		}
		fmt.Fprintf(&b, "%d/%d %s %s", c.Owner.Session, c.Owner.Number, verb, showSpan(c.Start, c.End, c.Kind))
		if c.Frozen {
			b.WriteString(", frozen")
		}
		b.WriteByte('\n')
	}
	if more {
		b.WriteString("and more\n")
	}
	return b.String()
}

func showRangeFile(t *rangeTable, file uint32) string {
	state, ok := t.File(file)
	if !ok {
		return "nothing\n"
	}
	var b strings.Builder
	for _, r := range state.Ranges {
		fmt.Fprintf(&b, "%d/%d has %s\n", r.Owner.Session, r.Owner.Number, showSpan(r.Start, r.End, r.Kind))
	}
	for _, w := range state.Waits {
		fmt.Fprintf(&b, "%d/%d wants %s as %d", w.Owner.Session, w.Owner.Number, showSpan(w.Start, w.End, w.Kind), w.ID)
		if w.Ahead {
			b.WriteString(", ahead")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
