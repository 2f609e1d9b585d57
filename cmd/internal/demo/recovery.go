package demo

import (
	"context"
	"fmt"
	"slices"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// volumeJournals is how many journals the recovery story's file system has, one
// for each node.
const volumeJournals = 4

// recoveryStory is the story of the journals: two nodes of four die together, the
// fence of one fails by its first method, and the node that replays the first
// journal dies half-way.
type recoveryStory struct {
	*story
	vol volume
	// torn are the records that the dead had begun: in a journal, in no file.
	torn []intent
	// proofs are when the fences were committed as proved, by node.
	proofs map[string]int64
}

func (s *recoveryStory) tell(ctx context.Context) error {
	return run(ctx, s.begin, s.share, s.dieTogether, s.dieInRecovery, s.takeAll, s.reboot, s.finishVolume)
}

// share lets every node write to the file of every node.
func (s *recoveryStory) share(context.Context) error {
	s.note("mounted", "%s mounted first, replayed all journals and let the others in; each node has a journal of its own", s.c.nodes[0])
	for _, name := range s.c.nodes {
		p := s.c.proc(name)
		for _, file := range s.c.nodes {
			if err := p.say("work " + file); err != nil {
				return err
			}
			if _, err := p.await(stepLimit, "worked"); err != nil {
				return err
			}
		}
	}
	s.note("work", "every node wrote to the files of all, through its journal and under the lock of the file")
	return nil
}

// holdOwn makes a node lock the file that is named after it and keep writing.
func (s *recoveryStory) holdOwn(name string) error {
	p := s.c.proc(name)
	if err := p.say("hold " + name); err != nil {
		return err
	}
	m, err := p.await(stepLimit, "granted")
	if err == nil {
		s.noteAt(m.At, "granted", "%s takes the exclusive lock of its file with token %d and keeps writing", name, m.Token)
	}
	return err
}

// dieTogether stops n1 and n2 between journal and file.
func (s *recoveryStory) dieTogether(ctx context.Context) error {
	if err := s.c.proc("n3").say("stumble"); err != nil {
		return err
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		if err := s.holdOwn(name); err != nil {
			return err
		}
	}
	if err := s.c.proc("n4").say("hold n1"); err != nil {
		return err
	}
	if _, err := s.c.await(ctx, stepLimit, "a waiter", func(st *gulmv1.StatusReply) bool { return st.GetWaiters() > 0 }); err != nil {
		return err
	}
	s.note("waiting", "n4 asks for the lock of n1's file and waits")
	for _, name := range []string{"n1", "n2"} {
		if err := s.c.proc(name).say("freeze"); err != nil {
			return err
		}
	}
	for jid, name := range []string{"n1", "n2"} {
		m, err := s.c.proc(name).await(stepLimit, "frozen")
		if err != nil {
			return err
		}
		pending, err := s.vol.pending(jid)
		if err != nil || len(pending) != 1 {
			return fmt.Errorf("journal %d of %s has %d records to bring home, want 1: %w", jid, name, len(pending), err)
		}
		s.torn = append(s.torn, pending[0])
		s.noteAt(m.At, "stopped", "%s dies (SIGSTOP): record %d is in its journal and not in its file", name, pending[0].Seq)
	}
	for _, name := range []string{"n1", "n2"} {
		if err := s.expired(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// dieInRecovery waits until n3, which replays a journal, stops there.
func (s *recoveryStory) dieInRecovery(ctx context.Context) error {
	m, err := s.c.proc("n3").await(stepLimit, "stumbled")
	if err != nil {
		return err
	}
	settled, err := s.fenced(ctx, m.Text)
	if err != nil {
		return err
	}
	s.noteAt(m.At, "stopped", "n3 dies (SIGSTOP) while it replays journal %d of %s: half of the work is done", m.Journal, m.Text)
	s.promise(settled <= m.At, "the fence of %s was proved before anybody touched its journal", m.Text)
	return s.expired(ctx, "n3")
}

// fenced waits for the proof of a node's fence and tells, once, how it came
// about. It returns when the proof was committed.
func (s *recoveryStory) fenced(ctx context.Context, name string) (int64, error) {
	if at := s.proofs[name]; at != 0 {
		return at, nil
	}
	st, err := s.c.await(ctx, stepLimit, "the proof of the fence of "+name, func(st *gulmv1.StatusReply) bool {
		return nodeOf(st, name).GetFence().GetState() == gulmv1.FenceState_FENCE_STATE_PROVED
	})
	if err != nil {
		return 0, err
	}
	f := nodeOf(st, name).GetFence()
	s.tellAttempts(name, f)
	s.noteAt(f.GetSettledMs(), "fenced", "the fence of %s is proved by %s and committed; its journal can be replayed", name, f.GetBy())
	s.fences++
	s.proofs[name] = f.GetSettledMs()
	return s.proofs[name], nil
}

// takeAll lets n4, the only survivor, replay everything and take the locks of all
// the dead.
func (s *recoveryStory) takeAll(ctx context.Context) error {
	p := s.c.proc("n4")
	home := map[string]message{} // newest recovery by the node that left the journal
	granted := map[string]int64{}
	for _, file := range []string{"n1", "n2", "n3"} {
		if file != "n1" { // for that one it has asked already
			if err := p.say("hold " + file); err != nil {
				return err
			}
		}
		for granted[file] == 0 {
			m, err := p.await(stepLimit, "recovering", "recovered", "granted")
			if err != nil {
				return err
			}
			switch m.What {
			case "recovering":
				s.noteAt(m.At, "replay", "n4 replays journal %d of %s", m.Journal, m.Text)
			case "recovered":
				home[m.Text] = m
				s.noteAt(m.At, "replayed", "journal %d of %s is replayed, %d records brought home; what it held is released", m.Journal, m.Text, m.Records)
			case "granted":
				granted[m.Text] = m.At
				s.noteAt(m.At, "granted", "n4 gets the lock of %s's file with token %d", m.Text, m.Token)
			}
		}
		if err := p.say("release"); err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "released"); err != nil {
			return err
		}
	}
	for _, dead := range []string{"n1", "n2", "n3"} {
		proof, err := s.fenced(ctx, dead)
		if err != nil {
			return err
		}
		m, replayed := home[dead]
		s.promise(replayed && proof <= m.At && m.At <= granted[dead],
			"%s: fence proved, then journal replayed, then its lock granted", dead)
	}
	return s.methods(ctx)
}

// methods checks that the two ways to fence n1 were tried in order.
func (s *recoveryStory) methods(ctx context.Context) error {
	st, err := s.c.await(ctx, stepLimit, "a master", func(*gulmv1.StatusReply) bool { return true })
	if err != nil {
		return err
	}
	f := nodeOf(st, "n1").GetFence()
	failed := slices.IndexFunc(f.GetAttempts(), func(a *gulmv1.FenceAttempt) bool {
		return a.GetMethod() == "first" && a.GetOutcome() != "ok" && a.GetOutcome() != ""
	})
	s.promise(failed >= 0 && f.GetBy() == "second/switch", "n1: the first method failed, the second one proved the fence (%s)", f.GetBy())
	return nil
}

// reboot boots the dead nodes again; they mount and work as before.
func (s *recoveryStory) reboot(context.Context) error {
	for _, name := range []string{"n1", "n2", "n3"} {
		p, err := s.c.startNode(name)
		if err != nil {
			return err
		}
		m, err := p.await(stepLimit, "ready")
		if err != nil {
			return err
		}
		s.noteAt(m.At, "mounted", "%s has booted and mounts again, with journal %d", name, m.Journal)
	}
	for _, name := range s.c.nodes {
		p := s.c.proc(name)
		if err := p.say("work " + name); err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "worked"); err != nil {
			return err
		}
	}
	return nil
}

// finishVolume ends everything and checks the volume.
func (s *recoveryStory) finishVolume(context.Context) error {
	if err := s.stopAll(); err != nil {
		return err
	}
	for _, name := range s.c.nodes {
		v, err := checkDisk(s.vol.file(name))
		if err != nil {
			return err
		}
		s.Disk.Records += v.Records
		s.Disk.Unprotected += v.Unprotected
		s.Disk.Examples = append(s.Disk.Examples, v.Examples...)
	}
	s.promise(s.Disk.Records > 0 && s.Disk.Unprotected == 0, "records whose lock was not held: %d of %d", s.Disk.Unprotected, s.Disk.Records)
	for _, torn := range s.torn {
		records, err := readRecords(s.vol.file(torn.File))
		if err != nil {
			return err
		}
		times := 0
		for _, r := range records {
			if r == torn.record {
				times++
			}
		}
		s.promise(times == 1, "record %d of %s, torn by its death, is in its file once: %d", torn.Seq, torn.Node, times)
	}
	for jid := range volumeJournals {
		left, err := s.vol.pending(jid)
		if err != nil {
			return err
		}
		s.promise(len(left) == 0, "journal %d has nothing left to replay: %d", jid, len(left))
	}
	return nil
}

// newRecoveryStory prepares the story in a folder of its own.
func newRecoveryStory(r *report, dir string) (*recoveryStory, error) {
	c, err := newCluster(dir, setup{
		nodes:    []string{"n1", "n2", "n3", "n4"},
		fences:   map[string]string{"n1": "first { broken { } } second { switch { } }"},
		journals: volumeJournals,
		// Three of four machines die within half a minute on purpose. By default the
		// breaker would leave the third one to the operator.
		settings: "breaker_percent = 100",
	})
	if err != nil {
		return nil, err
	}
	s := &recoveryStory{story: &story{report: r, c: c}, vol: volume{c.disk()}, proofs: map[string]int64{}}
	return s, nil
}
