package lock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (s *story) display(c *command) (string, error) {
	t := s.table
	switch c.verb {
	case "changed":
		n, err := strconv.ParseUint(c.words[1], 10, 64)
		return showEvents("", t.Changed(c.session, n, nil)), err
	case "show":
		r, ok := t.Resource(c.space, []byte(c.words[0]))
		parts := s.showParts(c) + s.showRanges(c)
		if !ok && parts == "" {
			return "no such resource\n", nil
		}
		return showResource(&r) + parts, nil
	case "spaces":
		var b strings.Builder
		for _, sp := range t.Spaces() {
			fmt.Fprintf(&b, "%d %.20q(%d) members %v", sp.Number, sp.Name, len(sp.Name), sp.Members)
			if sp.ValueLen != 0 {
				fmt.Fprintf(&b, " length %d", sp.ValueLen)
			}
			if sp.Policy != PolicyFence {
				fmt.Fprintf(&b, " policy %d", sp.Policy)
			}
			if sp.Lease != 0 {
				fmt.Fprintf(&b, " lease %d ms", sp.Lease)
			}
			if sp.KeepValues {
				b.WriteString(" keep")
			}
			b.WriteByte('\n')
		}
		return b.String(), nil
	default: // counts
		return fmt.Sprintf("%+v\n", t.Counts()), nil
	}
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
		return fmt.Sprintf("granted %v token %d%s\n", r.Mode, r.Token, showGrant(r.Status, r.Value))
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
	case denied:
		return "denied\n"
	}
	return fmt.Sprintf("outcome %d\n", r.Outcome)
}

// showGrant shows what a grant says besides its mode and token.
func showGrant(s Status, value []byte) string {
	var b strings.Builder
	for i, name := range []string{"demoted", "value not valid", "another mode"} {
		if s&(1<<i) != 0 {
			b.WriteString(", " + name)
		}
	}
	if value != nil {
		fmt.Fprintf(&b, ", value %q", strings.TrimRight(string(value), "\x00"))
	}
	return b.String()
}

func showEvents(indent string, events []Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s%d/%d ", indent, e.Session, e.Lock)
		switch e.Kind {
		case EventGranted:
			fmt.Fprintf(&b, "granted %v token %d%s\n", e.Mode, e.Token, showGrant(e.Status, e.Value))
		case EventBlocking:
			fmt.Fprintf(&b, "give way to %v\n", e.Mode)
		case EventDenied:
			fmt.Fprintf(&b, "denied %v, holds %v token %d\n", e.Reason, e.Mode, e.Token)
		}
	}
	return b.String()
}

func showResource(r *ResourceState) string {
	var b strings.Builder
	for _, l := range r.Locks {
		if l.Session.remains() {
			fmt.Fprintf(&b, "remains of node %d, left by %d: ", uint32(l.Session), l.Origin)
		} else if l.Session.orphans() {
			fmt.Fprintf(&b, "orphan of node %d, left by %d: ", l.Session&^(1<<63), l.Origin)
		} else {
			fmt.Fprintf(&b, "%d/%d ", l.Session, l.ID)
		}
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
		b.WriteString(showGrant(l.Status, nil))
		if l.Denied != 0 {
			fmt.Fprintf(&b, ", denied %v", l.Denied)
		}
		if l.Blocking != 0 {
			b.WriteString(", asked for")
			for m := range Mode(modes) {
				if modeSet(l.Blocking).has(m) {
					fmt.Fprintf(&b, " %v", m)
				}
			}
		}
		if l.Frozen {
			b.WriteString(", frozen")
		}
		b.WriteString(showTerms(&l))
		b.WriteByte('\n')
	}
	if r.Value != nil {
		fmt.Fprintf(&b, "value %q, version %d", strings.TrimRight(string(r.Value), "\x00"), r.ValueVersion)
		if r.ValueInvalid {
			b.WriteString(", not valid")
		}
		b.WriteByte('\n')
	}
	if r.Overtaken != 0 {
		fmt.Fprintf(&b, "overtaken %d times\n", r.Overtaken)
	}
	return b.String()
}
