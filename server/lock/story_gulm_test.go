package lock

import (
	"fmt"
	"slices"
	"strings"
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
		return showGulm(t.Gulm(c.session, req)), nil
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
