package journal

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

// TestStory plays testdata/story: blocks of commands, ----, and what they bring
// about. Each file begins with an empty ledger, and in the lockspace "gfs".
//
//	in LOCKSPACE                       for what follows
//	boot NODE...                       begins a life, with its first process
//	process NODE.WORD                  begins another process of that life
//	mount WHO [journals=N] [spectator] without a number 3 journals
//	replayed WHO                       the first mounter's word: all journals are
//	recovered WHO JID [FAILURE]        the word of one that replays a journal
//	unmount WHO
//	withdraw WHO [empty]               empty: it holds no lock
//	logout WHO                         its process ends without an unmount
//	expire NODE                        it is declared dead
//	fence NODE [word] [empty]          proved; word: an operator must acknowledge as well
//	acknowledge NODE                   does so
//	older NODE                         what it left before there were journals is in doubt
//	take WHO                           tells again what it has not confirmed
//	show
//
// WHO is a process: that of a node's boot has the node's name.
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
	s := &story{space: "gfs", lives: map[string]Life{}, sessions: map[string]uint64{}}
	var out strings.Builder
	var answers []string
	inAnswer := false
	for line := range strings.Lines(strings.TrimRight(script, "\n") + "\n\n") {
		word := strings.TrimSpace(line)
		switch {
		case word == "" && inAnswer:
			out.WriteString(strings.Join(append(answers, ""), "\n"))
			answers, inAnswer = nil, false
		case inAnswer:
			continue // the old answer
		case word == "----":
			inAnswer = true
		case word != "" && word[0] != '#':
			answer, err := s.do(strings.Fields(word))
			if err != nil {
				t.Fatalf("%s: %v", word, err)
			}
			answers = append(answers, answer...)
		}
		out.WriteString(line)
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

type story struct {
	ledger   Ledger
	index    uint64
	space    string
	spaces   []string
	lives    map[string]Life   // by node
	sessions map[string]uint64 // by process
	names    []string          // of processes, by session
	owners   []Life            // by session
}

// do plays one line, checks what must always hold, and returns what came of it.
func (s *story) do(words []string) ([]string, error) {
	s.index++
	s.ledger.Begin(s.index, int64(s.index)*10)
	verb, words := words[0], words[1:]
	answer, err := s.run(verb, words)
	if err != nil {
		return nil, err
	}
	for _, e := range s.ledger.TakeEvents() {
		answer = append(answer, s.event(e))
	}
	s.ledger.TakeNotes()
	return answer, s.ledger.Check()
}

func (s *story) run(verb string, words []string) ([]string, error) {
	switch {
	case verb == "show":
		return s.show(), nil
	case len(words) == 0:
		return nil, fmt.Errorf("too few words")
	case verb == "in":
		s.space = words[0]
		return nil, nil
	case verb == "boot":
		for _, node := range words {
			s.lives[node] = Life{node, s.lives[node].Incarnation + 1}
			s.begin(node)
		}
		return nil, nil
	case verb == "process":
		s.begin(words[0])
		return nil, nil
	}
	if s.sessions[words[0]] == 0 {
		return nil, fmt.Errorf("nobody is called %s", words[0])
	}
	switch verb {
	case "expire", "fence", "acknowledge", "older":
		return s.master(verb, words), nil
	}
	return s.request(verb, words)
}

// begin gives a process a session.
func (s *story) begin(process string) {
	s.names, s.owners = append(s.names, process), append(s.owners, s.lifeOf(process))
	s.sessions[process] = uint64(len(s.names))
}

func (s *story) name(session uint64) string { return s.names[session-1] }

func (s *story) lifeOf(process string) Life {
	node, _, _ := strings.Cut(process, ".")
	return s.lives[node]
}

// lockspace returns the number of the present one.
func (s *story) lockspace() uint32 {
	i := slices.Index(s.spaces, s.space)
	if i < 0 {
		i = len(s.spaces)
		s.spaces = append(s.spaces, s.space)
	}
	return uint32(i + 1)
}

// request is what a process asks.
func (s *story) request(verb string, words []string) ([]string, error) {
	l, space, session, who := &s.ledger, s.lockspace(), s.sessions[words[0]], words[0]
	switch verb {
	case "mount":
		return s.mount(who, words[1:])
	case "replayed":
		left, why := l.Done(space, session)
		return append(said(why), s.released(space, left)...), nil
	case "recovered":
		jid, err := strconv.Atoi(words[1])
		left, why := l.Recovered(space, session, jid, strings.Join(words[2:], " "))
		return append(said(why), s.released(space, left)...), err
	case "unmount":
		return said(l.Unmount(space, session)), nil
	case "withdraw":
		return said(l.Abandon(space, session, len(words) == 1)), nil
	case "logout":
		for _, space := range l.MountsOf(session) {
			l.Abandon(space, session, true)
		}
		return nil, nil
	case "take":
		var out []string
		for _, e := range l.Changed(session, 0, nil) {
			out = append(out, s.event(e))
		}
		return append(out, fmt.Sprintf("may pass what the dead left: %v", l.MayPass(space, session))), nil
	}
	return nil, fmt.Errorf("no such command")
}

func (s *story) mount(who string, words []string) ([]string, error) {
	req := MountRequest{Lockspace: s.lockspace(), Session: s.sessions[who], Life: s.lifeOf(who), Journals: 3}
	for _, word := range words {
		key, value, named := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		switch {
		case word == "spectator":
			req.Spectator, req.Journals = true, 0
		case named && key == "journals" && err == nil:
			req.Journals = n
		default:
			return nil, fmt.Errorf("what is %s", word)
		}
	}
	m, why := s.ledger.Mount(req)
	switch {
	case why != reason.None:
		return said(why), nil
	case m.State == Waiting:
		return []string{who + " waits"}, nil
	}
	return []string{has(who, m.JID, m.State == First)}, nil
}

// master is what the master decides about a node.
func (s *story) master(verb string, words []string) []string {
	l, life := &s.ledger, s.lives[words[0]]
	var out []string
	releases := func(all []Release) {
		for _, r := range all {
			out = append(out, s.released(r.Lockspace, r.Left)...)
		}
	}
	switch verb {
	case "expire":
		l.Expire(life)
	case "older":
		l.Later(s.lockspace(), life, []uint64{s.sessions[words[0]]}, slices.Contains(words, "word"))
	case "acknowledge":
		releases(l.Concede(life.Node))
	case "fence":
		var await []uint32
		if slices.Contains(words, "word") {
			for _, p := range l.Spaces() {
				await = append(await, p.Lockspace)
			}
		}
		releases(l.Trust(life.Node, await))
		var ended []uint64
		for i, name := range s.names {
			if session := uint64(i + 1); s.sessions[name] == session && s.owners[i] == life && !slices.Contains(words, "empty") {
				ended = append(ended, session)
			}
		}
		for _, space := range l.HeldBy(life) {
			l.Settle(space, life, ended, slices.Contains(words, "word"))
		}
		for _, space := range l.MountedBy(life) {
			l.Settle(space, life, nil, false)
		}
	}
	return out
}

func said(why reason.Reason) []string {
	if why == reason.None {
		return nil
	}
	return []string{fmt.Sprintf("refused %v", why)}
}

func has(who string, jid int, first bool) string {
	switch {
	case first:
		return fmt.Sprintf("%s mounts first, has journal %d, replays all", who, jid)
	case jid == NoJID:
		return who + " has mounted without a journal"
	}
	return fmt.Sprintf("%s has mounted with journal %d", who, jid)
}

func (s *story) event(e Event) string {
	in := ""
	if space := s.spaces[e.Lockspace-1]; space != s.space {
		in = " of " + space
	}
	if e.Kind == EventMounted {
		return has(s.name(e.Session), e.JID, e.First) + in
	}
	return fmt.Sprintf("%s is to replay journal %d, which %s left%s", s.name(e.Session), e.JID, lifeText(e.Life), in)
}

func lifeText(l Life) string { return fmt.Sprintf("%s/%d", l.Node, l.Incarnation) }

// released names the locks that others may have from now on.
func (s *story) released(space uint32, left []Remains) []string {
	var out []string
	for _, r := range left {
		line := "released: what " + s.remains(&r)
		if name := s.spaces[space-1]; name != s.space {
			line += " in " + name
		}
		out = append(out, line)
	}
	return out
}

func (s *story) remains(r *Remains) string {
	names := make([]string, len(r.Sessions))
	for i, session := range r.Sessions {
		names[i] = fmt.Sprintf("%s/%d", s.name(session), s.owners[session-1].Incarnation)
	}
	text := fmt.Sprintf("%s left (%s)", lifeText(r.Life), strings.Join(names, ", "))
	if r.Doubted {
		text += ", in doubt"
	}
	if r.Word {
		text += ", waits for a word"
	}
	return text
}

func (s *story) show() []string {
	if len(s.ledger.Spaces()) == 0 {
		return []string{"no lockspace has journals"}
	}
	var out []string
	for _, p := range s.ledger.Spaces() {
		out = append(out, s.spaces[p.Lockspace-1]+":")
		for jid := range p.Journals {
			out = append(out, fmt.Sprintf("  journal %d: %s", jid, s.journal(&p.Journals[jid])))
		}
		for i := range p.Mounts {
			m := &p.Mounts[i]
			text := []string{"waits", "is first", "works"}[m.State]
			if m.Spectator {
				text += ", a spectator"
			}
			if m.Dead {
				text += ", dead"
			}
			out = append(out, fmt.Sprintf("  %s %s", s.name(m.Session), text))
		}
		for i := range p.Late {
			out = append(out, "  late: what "+s.remains(&p.Late[i]))
		}
	}
	return out
}

func (s *story) journal(j *Journal) string {
	parts := []string{"clean"}
	if j.Mounter != 0 {
		parts = []string{"of " + s.name(j.Mounter)}
	}
	if j.Dirty() {
		if j.Mounter == 0 {
			parts = nil
		}
		for i := range j.Left {
			parts = append(parts, "dirty: what "+s.remains(&j.Left[i]))
		}
	}
	if j.Recoverer != 0 {
		parts = append(parts, fmt.Sprintf("%s replays it, try %d", s.name(j.Recoverer), j.Begun))
	}
	if j.Awaits != "" {
		parts = append(parts, "waits for a word about "+j.Awaits+", which replayed it")
	}
	if len(j.Failed) > 0 {
		names := make([]string, len(j.Failed))
		for i, session := range j.Failed {
			names[i] = s.name(session)
		}
		parts = append(parts, fmt.Sprintf("%s failed: %s", strings.Join(names, ", "), j.Error))
	}
	return strings.Join(parts, "; ")
}
