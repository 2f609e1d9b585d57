package member

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/reason"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories answer into testdata")

// TestStory plays testdata/story: blocks of commands, ----, and what they
// answer. Each file begins with an empty registry.
//
//	at INDEX                          of the log, for what follows; the clock shows it times 10
//	login NODE BOOT ID [PROCESS] [max=N] [flags=N] [replaces=INCARNATION]
//	logout SESSION
//	saw NODE                          it took part in the command at the index
//	expire NODE INCARNATION WHY [seen=INDEX]
//	begin NODE INCARNATION            a round of fencing
//	start NODE INCARNATION METHOD DEVICE
//	attempt NODE INCARNATION METHOD DEVICE OUTCOME [late=1]
//	release NODE INCARNATION
//	see NODE ALIVE DEVICE PRINT POWER
//	manual NODE OPERATOR BY
//	power NODE INCARNATION            its proof is that it lost its power
//	operator NODE INCARNATION WHO     expired it by force
//	prove NODE INCARNATION BY         acknowledge NODE INCARNATION BY
//	lease-ended NODE INCARNATION BY   word NODE INCARNATION BY
//	show                              pending
//
// WORD*N stands for WORD N times, - for nothing.
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
	s := &story{index: 1}
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
	registry Registry
	index    uint64
}

// arity is how many words each command needs.
var arity = map[string]int{
	"at": 1, "login": 3, "logout": 1, "saw": 1, "expire": 3, "begin": 2, "attempt": 5, "prove": 3, "acknowledge": 3, "lease-ended": 3, "word": 3,
	"show": 0, "pending": 0, "start": 4, "release": 2, "see": 5, "manual": 3,
	"power": 2, "operator": 3,
}

// do runs one line, checks what must always hold, and returns the answer.
func (s *story) do(line string) (string, error) {
	numbers := map[string]uint64{"seen": s.index}
	var words []string
	for _, word := range strings.Fields(line) {
		w, times, repeated := strings.Cut(word, "*")
		key, value, named := strings.Cut(word, "=")
		n, err := strconv.ParseUint(times+value, 10, 64)
		switch {
		case (repeated || named) && err != nil:
			return "", err
		case repeated:
			word = strings.Repeat(w, int(n))
		case named:
			numbers[key] = n
			continue
		case word == "-":
			word = ""
		}
		words = append(words, word)
	}
	verb, words := words[0], words[1:]
	if n, ok := arity[verb]; !ok || len(words) < n {
		return "", fmt.Errorf("no such command, or too few words")
	}
	before := s.registry.Clone()
	answer, err := s.run(verb, words, numbers)
	if err == nil {
		err = sound(&s.registry)
	}
	if err == nil {
		err = moved(&before, &s.registry)
	}
	return answer, err
}

func (s *story) run(verb string, words []string, numbers map[string]uint64) (string, error) {
	r, stamp := &s.registry, int64(s.index)*10
	switch verb {
	case "show":
		return show(r), nil
	case "pending":
		return fmt.Sprintln(r.Pending()), nil
	case "saw":
		r.SawNode(words[0], s.index)
		return "", nil
	case "login":
		req := LoginRequest{Node: words[0], BootID: words[1]}
		copy(req.LoginID[:], words[2])
		if len(words) > 3 {
			req.Process = words[3]
		}
		req.Watchdog = int64(numbers["watchdog"])
		req.Flags, req.Replaces = SessionFlags(numbers["flags"]), numbers["replaces"]
		if l, ok := r.Rebooted(req); ok {
			return fmt.Sprintf("proves that %s/%d is gone\n", l.Node, l.Incarnation), nil
		}
		session, why := r.Login(req, s.index, stamp, numbers["max"])
		if why != reason.None {
			return refused(why), nil
		}
		return fmt.Sprintf("session %d, incarnation %d\n", session.Number, session.Incarnation), nil
	case "at", "logout":
		n, err := strconv.ParseUint(words[0], 10, 64)
		if verb == "at" {
			s.index = n
			return "", err
		}
		if why := r.Logout(n, stamp); why != reason.None {
			return refused(why), err
		}
		return "done\n", err
	}
	if verb == "manual" {
		return done(r.NoteManual(words[0], ManualFence{Operator: words[1], By: words[2], Fenced: words[2] != "", Stamp: stamp})), nil
	}
	incarnation, err := strconv.ParseUint(words[1], 10, 64)
	if err == nil && verb == "see" {
		o := Outlet{Device: words[2], Print: words[3], Power: words[4], Stamp: stamp}
		return done(r.SeeOutlets(words[0], incarnation, []Outlet{o})), nil
	}
	if err != nil {
		return "", err
	}
	return s.ledger(verb, Life{words[0], incarnation}, words[2:], numbers), nil
}

func done(why reason.Reason) string {
	if why != reason.None {
		return refused(why)
	}
	return "done\n"
}

func (s *story) ledger(verb string, l Life, words []string, numbers map[string]uint64) string {
	r, stamp := &s.registry, int64(s.index)*10
	var (
		sessions []uint64
		why      reason.Reason
	)
	switch verb {
	case "expire":
		sessions, why = r.Expire(l, numbers["seen"], words[0], stamp)
	case "begin":
		why = r.BeginFence(l)
	case "power":
		r.NotePower(l)
	case "operator":
		r.NoteOperator(l, words[0])
	case "attempt":
		why = r.NoteAttempt(l, Attempt{Method: words[0], Device: words[1], Outcome: words[2], Start: stamp, Duration: 5, Late: numbers["late"] != 0})
	case "start":
		why = r.StartAttempt(l, Attempt{Method: words[0], Device: words[1], Start: stamp})
	case "release":
		why = r.Release(l)
	case "prove":
		sessions, why = r.SettleFence(l, FenceProved, words[0], stamp)
	case "lease-ended":
		sessions, why = r.SettleFence(l, FenceLeaseEnded, words[0], stamp)
	case "word":
		why = r.NoteWord(l, words[0])
	case "acknowledge":
		sessions, why = r.SettleFence(l, FenceAcknowledged, words[0], stamp)
	}
	switch {
	case why != reason.None:
		return refused(why)
	case len(sessions) > 0:
		return fmt.Sprintf("done, sessions %v\n", sessions)
	}
	return "done\n"
}

func refused(why reason.Reason) string { return fmt.Sprintf("refused %v\n", why) }

func show(r *Registry) string {
	var b strings.Builder
	for _, n := range r.Nodes() {
		fmt.Fprintf(&b, "%.10s: %v since %d, incarnation %d, boot %.10s, seen %d\n", n.Name, n.State, n.Since, n.Incarnation, n.BootID, n.Seen)
		if f := n.Fence; f.State != FenceNone {
			fmt.Fprintf(&b, "  fence of %d: %s, because %.20s(%d), %d to %d, rounds %d, by %.20s\n", f.Incarnation,
				[]string{"", "wanted", "proved", "acknowledged", "lease ended"}[f.State], f.Reason, len(f.Reason), f.Wanted, f.Settled, f.Rounds, f.By)
		}
		if f := n.Fence; f.Power || f.Operator != "" {
			fmt.Fprintf(&b, "  power %v, operator %q\n", f.Power, f.Operator)
		}
		for _, a := range n.Fence.Attempts {
			fmt.Fprintf(&b, "  %d: %.20s/%s %s%s%s\n", a.Start, a.Method, a.Device, a.Outcome, word(a.Open, "(open)"), word(a.Late, ", late"))
		}
		showLedger(&b, &n)
	}
	for _, x := range r.Sessions() {
		fmt.Fprintf(&b, "session %d: %.10s/%d %q", x.Number, x.Node, x.Incarnation, x.Process)
		if x.Watchdog != 0 {
			fmt.Fprintf(&b, ", watchdog %d", x.Watchdog)
		}
		if x.Flags != 0 {
			fmt.Fprintf(&b, ", flags %d", x.Flags)
		}
		if x.Frozen {
			b.WriteString(", frozen")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func word(b bool, s string) string {
	if b {
		return s
	}
	return ""
}

func showLedger(b *strings.Builder, n *Node) {
	l := &n.Ledger
	if n.Fence.Late || l.Held {
		fmt.Fprintf(b, "  late%s%s\n", word(n.Fence.Cut, ", cut"), word(l.Held, ", held"))
	}
	for _, f := range l.Past {
		fmt.Fprintf(b, "  past fence of %d: by %s, %d attempts\n", f.Incarnation, f.By, len(f.Attempts))
	}
	for _, o := range l.Outlets {
		fmt.Fprintf(b, "  outlet %s %s: %s at %d%s%s\n", o.Device, o.Print, o.Power, o.Stamp, word(o.On, ", trusted"), word(o.Wrong, ", wrong"))
	}
	for _, m := range l.Manual {
		fmt.Fprintf(b, "  by hand: %s at %d, incarnation %d, by %q\n", m.Operator, m.Stamp, m.Incarnation, m.By)
	}
}
