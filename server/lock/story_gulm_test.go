package lock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lock_gulmd/server/reason"
)

// gulmStates are GULM's words for the modes.
var gulmStates = map[Mode]string{NL: "unl", EX: "exl", CW: "dfr", PR: "shr"}

// gulmWords are the flags that only GULM has; try and quiet are as elsewhere.
var gulmWords = map[string]GulmFlags{"docb": GulmDoCB, "any": GulmAny, "noexp": GulmNoExp, "priority": GulmPriority}

// gulm is what a holder asks in GULM's words.
func (s *story) gulm(c *command) (string, error) {
	t := s.table
	req := GulmRequest{
		ID: c.id, Lockspace: c.space, Key: []byte(c.words[1]), Sub: c.numbers["sub"], Value: c.value,
		Flags: GulmFlags(c.numbers["gulmflags"]),
	}
	if c.value != nil {
		req.Flags |= GulmHasLVB
	}
	if c.flags&NoQueue != 0 {
		req.Flags |= GulmTry
	}
	if c.flags&NoCallbacks != 0 {
		req.Flags |= GulmNoCallBacks
	}
	for _, w := range c.words[2:] {
		if first, last, ok := strings.Cut(w, "-"); ok {
			req.partOf(first, last)
			continue
		}
		if flag := gulmWords[w]; flag != 0 {
			req.Flags |= flag
			continue
		}
		for m, state := range gulmStates {
			if state == w {
				req.Mode = m
			}
		}
	}
	switch c.verb {
	case "gulm":
		before := NL
		if slot, why := t.gulm(c.session, &req, gulmLock); slot != 0 && why == 0 {
			before = t.locks.get(slot).granted
		}
		r := t.Gulm(c.session, req)
		if r.Outcome != Refused || r.Reason == reason.TryFailed {
			s.tally.gulm(before, r.Mode, req.Flags, r)
		}
		return showGulm(r), nil
	case "gulm-cancel":
		return showGulm(t.GulmCancel(c.session, req)), nil
	case "gulm-hold":
		return showGulm(t.GulmHold(c.session, req)), nil
	case "gulm-unhold":
		return showGulm(t.GulmUnhold(c.session, req)), nil
	case "gulm-sync":
		return showGulm(t.GulmSync(c.session, req)), nil
	default: // gulm-query
		return showQuery(t, c.session, req), nil
	}
}

// partOf makes a request one for FIRST-LAST, or FIRST- to infinity.
func (req *GulmRequest) partOf(first, last string) {
	req.Flags |= GulmRange
	req.Start, _ = strconv.ParseUint(first, 10, 64)
	req.End = RangeMax
	if last != "" {
		req.End, _ = strconv.ParseUint(last, 10, 64)
	}
}

// showParts shows the parts of a key.
func (s *story) showParts(c *command) string {
	var b strings.Builder
	s.table.WalkRanges(func(f *RangeFile) bool {
		if !f.Gulm || f.Lockspace != c.space || string(f.Name) != c.words[0] {
			return true
		}
		for _, r := range f.Ranges {
			who := fmt.Sprintf("%d sub=%d", r.Owner.Session, r.Owner.Number)
			if r.Owner.Origin != 0 {
				who = fmt.Sprintf("remains of node %d, left by %d sub=%d:", uint32(r.Owner.Session), r.Owner.Origin, r.Owner.Number)
			}
			fmt.Fprintf(&b, "%s has %s\n", who, showSpan(r.Start, r.End, r.Kind))
		}
		for _, w := range f.Waits {
			fmt.Fprintf(&b, "%d/%d sub=%d wants %s\n", w.Owner.Session, w.ID, w.Owner.Number, showSpan(w.Start, w.End, w.Kind))
		}
		return true
	})
	return b.String()
}

// gulmVerbs are the commands of story.gulm.
var gulmVerbs = []string{"gulm", "gulm-cancel", "gulm-hold", "gulm-unhold", "gulm-sync", "gulm-query"}

func isGulmVerb(c *command) bool { return slices.Contains(gulmVerbs, c.verb) && len(c.words) > 1 }

// showGulm shows a reply in GULM's words.
func showGulm(r Reply) string {
	var b strings.Builder
	switch r.Outcome {
	case Granted:
		fmt.Fprintf(&b, "%s, token %d", gulmStates[r.Mode], r.Token)
		if r.Mode != NL && r.Status&Demoted == 0 {
			b.WriteString(", cachable")
		}
		if r.Status&AltMode != 0 {
			b.WriteString(", the other")
		}
		b.WriteString(showGrant(r.Status&ValNotValid, r.Value) + "\n")
	case Queued:
		fmt.Fprintf(&b, "waits for %s\n", gulmStates[r.Mode])
	default:
		return showReply(r)
	}
	return b.String()
}

func showQuery(t *Table, s Session, req GulmRequest) string {
	r := t.gulmQuery(s, &req, 3)
	switch {
	case r.Outcome == Granted && r.Holders == nil:
		return "free\n"
	case r.Holders == nil:
		return showReply(r)
	}
	var b strings.Builder
	for _, h := range r.Holders.List {
		fmt.Fprintf(&b, "%s: session %d, sub-id %d", gulmStates[h.Mode], h.Session, h.Sub)
		if h.Start != 0 || h.End != RangeMax || t.gulmFile(&req) != 0 {
			b.WriteString(", " + strings.Fields(showSpan(h.Start, h.End, RangeRead))[0])
		}
		if h.Node != 0 {
			fmt.Fprintf(&b, ", left to node %d", h.Node)
		}
		if h.Frozen {
			b.WriteString(", frozen")
		}
		b.WriteByte('\n')
	}
	if r.Holders.More {
		b.WriteString("and more\n")
	}
	return b.String()
}
