package state

import (
	"fmt"
	"strings"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
)

const (
	// maxToldWaits and maxDetail (bytes) bound the text about a deadlock.
	maxToldWaits = 8
	maxDetail    = 2000
)

// deny ends a wait. Its session may be gone and the lock granted meanwhile.
func (s *State) deny(c Deny) Result {
	if c.Term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	d := lock.Denial{Session: lock.Session(c.Session), ID: c.Lock, Since: c.Since, Reason: c.Reason, Cycle: c.Cycle}
	if waits, ok := s.locks.Explain(c.Cycle); ok {
		d.Detail = s.Tell(waits)
	}
	if !s.locks.Deny(d) {
		return Result{Reason: reason.NotHeld}
	}
	return Result{}
}

// Tell spells out a cycle of waits for people, in up to maxDetail bytes.
func (s *State) Tell(waits []lock.Wait) string {
	waits = lock.Shorten(waits)
	var b strings.Builder
	for i := range waits {
		w := &waits[i]
		if i == maxToldWaits && len(waits) > i+1 {
			fmt.Fprintf(&b, ", and so on over %d more", len(waits)-i)
			break
		}
		if i > 0 {
			b.WriteString(", which waits for ")
		} else {
			b.WriteString(s.nameOf(&w.Waiter) + " waits for ")
		}
		switch {
		case w.Waiter.Range != nil:
			s.tellRange(&b, w)
		case w.Behind:
			fmt.Fprintf(&b, "%v on %s behind %s, which wants %v there", w.Waiter.Requested, s.resource(w), s.nameOf(&w.By), w.By.Requested)
		default:
			fmt.Fprintf(&b, "%v on %s held in %v by %s", w.Waiter.Requested, s.resource(w), w.By.Granted, s.nameOf(&w.By))
		}
	}
	text := b.String()
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "..."
	}
	return text
}

// tellRange tells of a wait for a byte range.
func (s *State) tellRange(b *strings.Builder, w *lock.Wait) {
	where, how := bytesOf(w.Waiter.Range)
	fmt.Fprintf(b, "%s of %s (%s) ", where, s.resource(w), how)
	by := w.By.Range
	switch {
	case by == nil || !w.Behind && *by == *w.Waiter.Range:
		fmt.Fprintf(b, "held by %s", s.nameOf(&w.By))
	case w.Behind:
		where, how = bytesOf(by)
		fmt.Fprintf(b, "behind %s, which wants %s (%s)", s.nameOf(&w.By), where, how)
	default:
		where, how = bytesOf(by)
		fmt.Fprintf(b, "held by %s, which has %s (%s)", s.nameOf(&w.By), where, how)
	}
}

// bytesOf names a range: "bytes 0 to 99", "write".
func bytesOf(r *lock.PartyRange) (where, how string) {
	how = "read"
	if r.Kind == lock.RangeWrite {
		how = "write"
	}
	switch {
	case r.Flock:
		return "the flock", how
	case r.End == lock.RangeMax:
		return fmt.Sprintf("bytes %d and on", r.Start), how
	}
	return fmt.Sprintf("bytes %d to %d", r.Start, r.End), how
}

func (s *State) nameOf(p *lock.Party) string {
	text := "an orphan"
	if session, ok := s.members.Session(uint64(p.Session)); ok {
		text = fmt.Sprintf("node %s (session %d", session.Node, p.Session)
		if p.Owner != 0 {
			text += fmt.Sprintf(", owner %d", p.Owner)
		}
		text += ")"
	}
	return text
}

func (s *State) resource(w *lock.Wait) string {
	space := fmt.Sprint(w.Lockspace)
	for _, sp := range s.locks.Spaces() {
		if sp.Number == w.Lockspace {
			space = sp.Name
		}
	}
	return fmt.Sprintf("%s/%q", strings.ToValidUTF8(space, "\uFFFD"), w.Name)
}
