package lock

import (
	"fmt"
	"strconv"
	"strings"
)

// terms returns owner= and timeout=, which goes with the flag limited.
func (c *command) terms() Terms {
	return Terms{Owner: c.numbers["owner"], Timeout: uint32(c.numbers["timeout"])}
}

func (s *story) lockSet(c *command) (Reply, error) {
	req := SetRequest{ID: c.id, Lockspace: c.space, Flags: c.flags, Terms: c.terms()}
	for _, w := range c.words[1:] {
		parts := strings.Split(w, ":")
		if len(parts) < 3 {
			return Reply{}, fmt.Errorf("want ID:RESOURCE:MODE, not %q", w)
		}
		id, err := strconv.ParseUint(parts[0], 10, 64)
		if err != nil {
			return Reply{}, err
		}
		mode, err := parseMode(parts[2])
		if err != nil {
			return Reply{}, err
		}
		e := SetEntry{ID: ID(id), Name: []byte(parts[1]), Mode: mode}
		for _, flag := range parts[3:] {
			e.Flags |= flagWords[flag]
		}
		req.Entries = append(req.Entries, e)
	}
	return s.table.LockSet(c.session, req), nil
}

func (s *story) displayWaits(c *command) (string, error) {
	t := s.table
	var b strings.Builder
	switch c.verb {
	case "watched":
		t.Watch(0, func(w Watching) bool {
			fmt.Fprintf(&b, "%d/%d since %d owner %d timeout %d", w.Session, w.ID, w.Since, w.Owner, w.Timeout)
			if w.Set {
				b.WriteString(", a set")
			}
			if w.Range {
				b.WriteString(", a range")
			}
			b.WriteByte('\n')
			return true
		})
	case "deadlocks":
		cycles, complete := t.Deadlocks(1 << 16)
		if !complete {
			return "", fmt.Errorf("the search was cut short")
		}
		for i := range cycles {
			b.WriteString(showCycle(&cycles[i]))
		}
		if len(cycles) == 0 {
			b.WriteString("none\n")
		}
	case "resolve":
		return s.resolve()
	default: // waits
		t.WalkWaits(10, func(v *View) bool {
			if string(v.Name) != c.words[0] || v.Lockspace != c.space {
				return true
			}
			for i := range v.Waits {
				b.WriteString(showWait(&v.Waits[i]) + "\n")
			}
			return false
		})
	}
	return b.String(), nil
}

// resolve does what a master does.
func (s *story) resolve() (string, error) {
	var b strings.Builder
	for range 100 {
		cycles, _ := s.table.Deadlocks(1 << 16)
		denied := false
		for i := range cycles {
			d, ok := cycles[i].Denial()
			if ok && !s.table.Deny(d) {
				return "", fmt.Errorf("the cycle is not confirmed: %s", showCycle(&cycles[i]))
			}
			denied = denied || ok
			b.WriteString(showEvents("  ", s.table.TakeEvents()))
		}
		if !denied {
			for range cycles {
				b.WriteString("a deadlock without a victim\n")
			}
			return b.String(), nil
		}
	}
	return "", fmt.Errorf("deadlocks go on and on")
}

func showCycle(c *Cycle) string {
	var b strings.Builder
	for i := range c.Waits {
		fmt.Fprintf(&b, "%s on %s", showWait(&c.Waits[i]), c.Waits[i].Name)
		if i == c.Victim {
			b.WriteString(", the victim")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func showWait(w *Wait) string {
	what := "holds " + showWhat(&w.By, w.By.Granted)
	if w.Behind {
		what = "is before it for " + showWhat(&w.By, w.By.Requested)
	}
	return fmt.Sprintf("%s wants %s, %s %s", showParty(&w.Waiter), showWhat(&w.Waiter, w.Waiter.Requested), showParty(&w.By), what)
}

// showWhat shows a mode, or a byte range.
func showWhat(p *Party, m Mode) string {
	if p.Range != nil {
		return showSpan(p.Range.Start, p.Range.End, p.Range.Kind)
	}
	return fmt.Sprint(m)
}

func showParty(p *Party) string {
	text := fmt.Sprintf("%d/%d", p.Session, p.ID)
	if p.ID == 0 {
		text = fmt.Sprint(p.Session)
	}
	if p.Owner != 0 {
		text += fmt.Sprintf(" (owner %d)", p.Owner)
	}
	if p.Set != 0 {
		text += fmt.Sprintf(" (set %d)", p.Set)
	}
	if p.Frozen {
		text += " (frozen)"
	}
	return text
}

// showTerms shows what only some locks have.
func showTerms(l *LockState) string {
	text := ""
	if l.Owner != 0 {
		text += fmt.Sprintf(", owner %d", l.Owner)
	}
	if l.Set != 0 {
		text += fmt.Sprintf(", of set %d", l.Set)
	}
	if l.Timeout != 0 {
		text += fmt.Sprintf(", for %d ms", l.Timeout)
	}
	if l.Since != 0 {
		text += fmt.Sprintf(", since %d", l.Since)
	}
	return text
}
