package lock

import (
	"fmt"
	"slices"
	"strings"
)

// rangeVerbs are the commands of story.byteRange.
var rangeVerbs = []string{"range", "range-unlock", "range-test", "range-close"}

// byteRange is what a session asks of the byte ranges of a file.
func (s *story) byteRange(c *command) (Reply, error) {
	req := RangeRequest{ID: c.id, Lockspace: c.space, Owner: c.numbers["owner"], Timeout: uint32(c.numbers["timeout"]), Flags: c.flags}
	if len(c.words) > 1 {
		req.Name = []byte(c.words[1])
	}
	for _, w := range c.words[min(2, len(c.words)):] {
		first, last, ok := strings.Cut(w, "-")
		switch {
		case ok:
			var part GulmRequest
			part.partOf(first, last)
			req.Start, req.End = part.Start, part.End
		case w == "flock":
			req.Flags |= RangeFlock
		case w == "write":
			req.Kind = RangeWrite
		case w != "read":
			return Reply{}, fmt.Errorf("%q is neither a range nor a kind", w)
		}
	}
	switch c.verb {
	case "range":
		return s.table.RangeLock(c.session, req), nil
	case "range-unlock":
		return s.table.RangeUnlock(c.session, req), nil
	case "range-test":
		return s.table.RangeTest(c.session, req), nil
	default: // range-close
		return s.table.RangeClose(c.session, req), nil
	}
}

// showRanges shows the byte ranges of a file; of flock what is for the whole of it.
func (s *story) showRanges(c *command) string {
	var b strings.Builder
	s.table.WalkRanges(func(f *RangeFile) bool {
		if f.Gulm || f.Lockspace != c.space || string(f.Name) != c.words[0] {
			return true
		}
		span := func(start, end uint64, kind RangeKind) string {
			if f.Flock {
				return "flock " + strings.Fields(showSpan(start, end, kind))[1]
			}
			return showSpan(start, end, kind)
		}
		for _, r := range f.Ranges {
			frozen := ""
			if r.Frozen {
				frozen = ", frozen"
			}
			fmt.Fprintf(&b, "%s has %s%s\n", showRangeOwner(r.Owner), span(r.Start, r.End, r.Kind), frozen)
		}
		for _, w := range f.Waits {
			fmt.Fprintf(&b, "%d/%d (owner %d) wants %s\n", w.Owner.Session, w.ID, w.Owner.Number, span(w.Start, w.End, w.Kind))
		}
		return true
	})
	return b.String()
}

func showRangeOwner(o RangeOwner) string {
	if o.Origin != 0 {
		return fmt.Sprintf("remains of node %d, left by %d (owner %d):", uint32(o.Session), o.Origin, o.Number)
	}
	return fmt.Sprintf("%d (owner %d)", o.Session, o.Number)
}

// showConflicts shows what a test found.
func showConflicts(r Reply) string {
	if r.Conflicts == nil {
		return ""
	}
	var b strings.Builder
	for _, c := range r.Conflicts.List {
		verb := "has"
		if c.Waiting {
			verb = "wants"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", showRangeOwner(c.Owner), verb, showSpan(c.Start, c.End, c.Kind))
	}
	return b.String()
}

func isRangeVerb(c *command) bool { return slices.Contains(rangeVerbs, c.verb) && len(c.words) > 0 }
