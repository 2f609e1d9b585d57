package journal

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"lock_gulmd/server/reason"
)

// truth is what is so on the machines, whatever the ledger believes: who may be
// writing into which journal, and whose locks have not been given to others.
type truth struct {
	ledger  Ledger
	index   uint64
	session uint64
	nodes   []*machine
	// owed are the remains that were not released: who left which journal.
	owed     map[remnant]bool
	released int
	recovers int
	// manual: a proof is not enough, an operator's word is needed. Until then the
	// dead, ghosts, go on as far as anybody knows.
	manual bool
	ghosts []*machine
	words  int
}

type remnant struct {
	node    string
	session uint64
}

// machine is one node.
type machine struct {
	name     string
	life     uint64
	session  uint64 // 0 while it is not logged in
	expired  bool
	mount    bool // it has asked
	mounted  bool
	first    bool
	own      int // journal, NoJID for none
	replays  []int
	watching bool
}

const (
	modelSpace    = 7
	modelJournals = 3
)

func newTruth(n int) *truth {
	w := &truth{owed: map[remnant]bool{}}
	for i := range n {
		w.nodes = append(w.nodes, &machine{name: string(rune('a' + i)), own: NoJID})
	}
	return w
}

func (m *machine) is() Life { return Life{m.name, m.life} }

// writes reports whether the machine may be writing into a journal.
func (m *machine) writes(jid int) bool {
	return m.session != 0 && (m.own == jid || m.first || slices.Contains(m.replays, jid))
}

func (w *truth) begin() {
	w.index++
	w.ledger.Begin(w.index, int64(w.index))
}

// hear passes on what the ledger tells the machines.
func (w *truth) hear() error {
	for _, e := range w.ledger.TakeEvents() {
		m := w.of(e.Session)
		switch {
		case m == nil || m.expired:
			return fmt.Errorf("%+v is for a session that is over", e)
		case e.Kind == EventMounted && (m.mounted || !m.mount):
			return fmt.Errorf("%+v is told to somebody who does not wait", e)
		case e.Kind == EventMounted:
			m.mounted, m.own, m.first = true, e.JID, e.First
		default:
			m.replays = append(m.replays, e.JID)
			w.recovers++
		}
	}
	return nil
}

func (w *truth) of(session uint64) *machine {
	for _, m := range w.nodes {
		if m.session == session && session != 0 {
			return m
		}
	}
	return nil
}

// gone: the machine does not use the file system any more.
func (m *machine) gone() {
	m.mount, m.mounted, m.first, m.watching, m.own, m.replays = false, false, false, false, NoJID, nil
}

// take checks remains that the ledger gives free.
func (w *truth) take(left []Remains) error {
	for _, r := range left {
		for _, m := range w.nodes {
			if m.name == r.Life.Node && m.expired {
				return fmt.Errorf("what %v left is released while its node is expired and not fenced", r.Life)
			}
		}
		for _, m := range w.ghosts {
			if m.name == r.Life.Node && m.life >= r.Life.Incarnation {
				return fmt.Errorf("what %v left is released before a word about its node", r.Life)
			}
		}
		for _, s := range r.Sessions {
			if !w.owed[remnant{r.Life.Node, s}] {
				return fmt.Errorf("what session %d of %v left is released again", s, r.Life)
			}
			delete(w.owed, remnant{r.Life.Node, s})
			w.released++
		}
	}
	return nil
}

// check holds the truth against what must never be.
func (w *truth) check() error {
	if err := w.ledger.Check(); err != nil {
		return err
	}
	for jid := range modelJournals {
		var writers []string
		for _, m := range slices.Concat(w.nodes, w.ghosts) {
			if m.writes(jid) {
				writers = append(writers, m.name)
			}
		}
		if len(writers) > 1 {
			return fmt.Errorf("%v write into journal %d", writers, jid)
		}
	}
	var kept int
	for _, p := range w.ledger.Spaces() {
		for _, j := range p.Journals {
			for _, r := range j.Left {
				kept += len(r.Sessions)
			}
		}
		for _, r := range p.Late {
			kept += len(r.Sessions)
		}
	}
	if kept != len(w.owed) {
		return fmt.Errorf("%d remains are owed and %d are kept: %v", len(w.owed), kept, w.owed)
	}
	c := w.ledger.Clone()
	var again Ledger
	if !again.Restore(c.spaces) || !reflect.DeepEqual(again.Copy(), w.ledger.Copy()) {
		return fmt.Errorf("it comes back from a snapshot otherwise")
	}
	return nil
}

// moves are all that can happen.
func (w *truth) moves() map[string]func(*machine, pick) error {
	return map[string]func(*machine, pick) error{
		"log in": func(m *machine, _ pick) error {
			if m.session == 0 {
				w.session++
				m.life++
				m.session = w.session
			}
			return nil
		},
		"mount": func(m *machine, p pick) error {
			return w.doMount(m, p(6) == 5)
		},
		"all done": func(m *machine, _ pick) error { return w.doDone(m) },
		"recovered": func(m *machine, p pick) error {
			return w.doRecovered(m, p(4) == 3)
		},
		"unmount": func(m *machine, _ pick) error {
			why := w.ledger.Unmount(modelSpace, m.session)
			return w.ended(m, why, m.mount && !m.expired, nil)
		},
		"withdraw": func(m *machine, _ pick) error {
			had := m.own != NoJID
			if m.expired || m.session == 0 {
				return nil
			}
			why := w.ledger.Abandon(modelSpace, m.session, true)
			if !had {
				return w.ended(m, why, m.mount, nil)
			}
			return w.ended(m, why, m.mount, []uint64{m.session})
		},
		"expire": func(m *machine, _ pick) error {
			if m.session != 0 && !m.expired {
				m.expired = true
				w.ledger.Expire(m.is())
			}
			return nil
		},
		"fence": func(m *machine, p pick) error { return w.doFence(m, !w.manual || p(3) == 2) },
		"word":  func(m *machine, _ pick) error { return w.doWord(m) },
	}
}

func (w *truth) doMount(m *machine, spectator bool) error {
	if m.session == 0 || m.expired {
		return nil
	}
	live := 0
	for _, o := range w.nodes {
		if o.mount && !o.expired && !o.watching {
			live++
		}
	}
	got, why := w.ledger.Mount(MountRequest{
		Lockspace: modelSpace, Session: m.session, Life: m.is(), Spectator: spectator, Journals: modelJournals,
	})
	want := reason.None
	switch {
	case m.mount:
		want = reason.Mounted
	case !spectator && live >= modelJournals:
		want = reason.NoJournal
	}
	if why != want {
		return fmt.Errorf("mount: %v, want %v", why, want)
	}
	if why == reason.None {
		m.mount, m.watching = true, spectator
		m.mounted, m.own, m.first = got.State != Waiting, got.JID, got.State == First
	}
	return nil
}

func (w *truth) doDone(m *machine) error {
	if m.session == 0 || m.expired {
		return nil
	}
	left, why := w.ledger.Done(modelSpace, m.session)
	if (why == reason.None) != m.first {
		return fmt.Errorf("%s is first %v and is answered %v", m.name, m.first, why)
	}
	m.first = false
	return w.take(left)
}

func (w *truth) doRecovered(m *machine, fails bool) error {
	if m.session == 0 || m.expired {
		return nil
	}
	for jid := range modelJournals {
		at := slices.Index(m.replays, jid)
		failure := ""
		if fails {
			failure = "i/o error"
		}
		left, why := w.ledger.Recovered(modelSpace, m.session, jid, failure)
		if (why == reason.None) != (at >= 0) {
			return fmt.Errorf("%s recovers %v and is answered %v for %d", m.name, m.replays, why, jid)
		}
		if at >= 0 {
			m.replays = slices.Delete(m.replays, at, at+1)
		}
		if err := w.take(left); err != nil || len(left) > 0 && fails {
			return fmt.Errorf("%d released, failed %v: %w", len(left), fails, err)
		}
		if err := w.hear(); err != nil {
			return err
		}
	}
	return nil
}

func (w *truth) ended(m *machine, why reason.Reason, mounts bool, left []uint64) error {
	if m.expired {
		return nil
	}
	if (why == reason.None) != mounts {
		return fmt.Errorf("%s mounts %v and is answered %v", m.name, mounts, why)
	}
	if mounts {
		for _, s := range left {
			w.owed[remnant{m.name, s}] = true
		}
		m.gone()
	}
	return nil
}

// doWord is an operator's word about a node that is fenced.
func (w *truth) doWord(m *machine) error {
	if m.expired {
		return nil
	}
	ghost := func(g *machine) bool { return g.name == m.name }
	if awaits := w.ledger.Awaits(m.name); awaits {
		w.words++
		if !slices.ContainsFunc(w.ghosts, ghost) {
			return fmt.Errorf("a word about %s is waited for and nothing of it may be alive", m.name)
		}
	}
	w.ghosts = slices.DeleteFunc(w.ghosts, ghost)
	for _, r := range w.ledger.Concede(m.name) {
		if err := w.take(r.Left); err != nil {
			return err
		}
	}
	return nil
}

// doFence proves a fence, with or without an operator's word.
func (w *truth) doFence(m *machine, word bool) error {
	if !m.expired {
		return nil
	}
	if !word {
		ghost := *m
		ghost.replays = slices.Clone(m.replays)
		w.ghosts = append(w.ghosts, &ghost)
	}
	m.expired = false
	life, session, had := m.is(), m.session, m.own != NoJID
	m.gone()
	m.session = 0
	var await []uint32
	if !word {
		await = []uint32{modelSpace}
	}
	for _, r := range w.ledger.Trust(m.name, await) {
		if err := w.take(r.Left); err != nil {
			return err
		}
	}
	if p, known := w.ledger.Space(modelSpace); known && p.LeftBy(session) != NoJID {
		had = true
	}
	if had {
		w.owed[remnant{m.name, session}] = true
	}
	if got := w.ledger.Settle(modelSpace, life, []uint64{session}, !word); got != had {
		return fmt.Errorf("%v had a journal: %v, want %v", life, got, had)
	}
	if word && w.manual {
		return w.doWord(m)
	}
	return nil
}

// mend fences whoever is expired and lets everybody recover what is left.
func (w *truth) mend() error {
	fence := func(m *machine) error {
		if m.expired {
			return w.doFence(m, true)
		}
		return w.doWord(m)
	}
	step := func(do func(*machine) error) error {
		for _, m := range w.nodes[:modelJournals] {
			w.begin()
			if err := do(m); err != nil {
				return err
			}
			if err := w.hear(); err != nil {
				return err
			}
			if err := w.check(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, do := range []func(*machine) error{
		fence, w.doDone,
		func(m *machine) error { return w.ended(m, w.ledger.Unmount(modelSpace, m.session), m.mount, nil) },
		func(m *machine) error {
			if m.session == 0 {
				w.session++
				m.life++
				m.session = w.session
			}
			return w.doMount(m, false)
		},
		w.doDone, func(m *machine) error { return w.doRecovered(m, false) },
	} {
		for _, m := range w.nodes[modelJournals:] { // they leave room for the others
			if err := cmp.Or(fence(m), w.hear()); err != nil {
				return err
			}
			if err := w.ended(m, w.ledger.Unmount(modelSpace, m.session), m.mount, nil); err != nil {
				return err
			}
		}
		if err := step(do); err != nil {
			return err
		}
	}
	if len(w.owed) > 0 {
		return fmt.Errorf("never released: %v", w.owed)
	}
	return nil
}

// pick chooses a number from 0 to n-1.
type pick func(n int) int

// play makes so many random moves and then mends everything.
func (w *truth) play(p pick, steps int) error {
	moves := w.moves()
	names := slices.Sorted(maps.Keys(moves))
	names = append(names, "log in", "mount", "mount", "all done", "recovered", "fence")
	for range steps {
		name, m := names[p(len(names))], w.nodes[p(len(w.nodes))]
		w.begin()
		err := moves[name](m, p)
		if err == nil {
			err = w.hear()
		}
		if err == nil {
			err = w.check()
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w\n%+v", m.name, name, err, w.ledger.Spaces())
		}
	}
	if err := w.mend(); err != nil {
		return fmt.Errorf("mended: %w\n%+v", err, w.ledger.Spaces())
	}
	return nil
}

// TestModel: whatever happens in which order, no two machines that may be
// running write into one journal, remains are released once, after their fence
// and their replay, and once everything is mended nothing is left.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		w := newTruth(4)
		w.manual = p(2) == 1
		if err := w.play(p, rapid.IntRange(1, 200).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
	})
}

// TestModel_bulk is TestModel with long stories from fixed seeds, which reach
// what they should.
func TestModel_bulk(t *testing.T) {
	recovers, released, words := 0, 0, 0
	for seed := range uint64(160) {
		w := newTruth(4)
		w.manual = seed%2 == 1
		if err := w.play(rand.New(rand.NewPCG(seed, 3)).IntN, 400); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		recovers, released, words = recovers+w.recovers, released+w.released, words+w.words
	}
	t.Logf("%d recoveries, %d remains released, %d words", recovers, released, words)
	if recovers < 150 || released < 500 || words < 100 {
		t.Error("hardly anything was ever recovered")
	}
}
