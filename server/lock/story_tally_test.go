package lock

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/server/reason"
)

// storyTally counts what the stories show, so that none of the rules that are to
// have one can lose it: each flag of each kind of request, each cell of the table of
// value blocks, each change of state of GULM's.
type storyTally map[string]int

// flagNames are the flags as the stories have them, but flock and those of GULM.
func flagNames(f Flags) []string {
	var names []string
	for name, flag := range flagWords {
		if f&flag != 0 && name != "callback" && name != "quiet" {
			names = append(names, name)
		}
	}
	if f&NoQueueBast != 0 {
		names = append(names, "callback")
	}
	if f&NoCallbacks != 0 {
		names = append(names, "quiet")
	}
	return names
}

// request notes one request that was possible.
func (s storyTally) request(c *command, r Reply) {
	for _, name := range flagNames(c.flags) {
		s[c.verb+" "+name]++
	}
	if c.numbers["timeout"] != 0 {
		s[c.verb+" timeout"]++
	}
	s[fmt.Sprint(c.verb, " outcome ", r.Outcome)]++
}

// held returns the mode that a lock has, modes if it does not exist or holds nothing.
func (s *story) held(c *command) Mode {
	if slot := s.table.findLock(c.session, c.id); slot != 0 && s.table.locks.get(slot).queue == granted {
		return s.table.locks.get(slot).granted
	}
	return modes
}

// note notes one request, whose lock held a mode before.
func (s *story) note(c *command, before Mode, r Reply) {
	if r.Outcome == Refused && r.Reason != reason.TryFailed && r.Reason != reason.Deadlock {
		return
	}
	s.tally.request(c, r)
	switch {
	case c.verb == "lock":
		s.tally.value(c, "nothing", fmt.Sprint(r.Mode), r)
	case c.verb == "convert":
		s.tally.value(c, fmt.Sprint(before), fmt.Sprint(r.Mode), r)
	case c.verb == "unlock" && before < modes:
		s.tally.value(c, fmt.Sprint(before), "gone", r)
	case c.verb == "set":
		for _, w := range c.words[1:] {
			for _, flag := range strings.Split(w, ":")[3:] {
				s.tally["entry "+flag]++
			}
		}
	case slices.Contains(c.words, "flock"):
		s.tally["range flock"]++
	}
}

// value notes what a grant did with the value block.
func (s storyTally) value(c *command, held, granted string, r Reply) {
	if c.flags&ValBlk != 0 && (r.Outcome == Granted || r.Outcome == Unlocked) {
		s[fmt.Sprintf("value %s to %s", held, granted)]++
	}
}

// gulm notes a change of state.
func (s storyTally) gulm(before, after Mode, flags GulmFlags, r Reply) {
	if r.Outcome == Granted && before != NL && before != after {
		s[fmt.Sprintf("gulm %s to %s", gulmStates[before], gulmStates[after])]++
	}
	for name, flag := range gulmAll {
		if flags&flag != 0 {
			s["gulm "+name]++
		}
	}
	if r.Status&AltMode != 0 {
		s["gulm any, the other"]++
	}
}

var gulmAll = map[string]GulmFlags{
	"try": GulmTry, "docb": GulmDoCB, "any": GulmAny, "noexp": GulmNoExp, "lvb": GulmHasLVB, "priority": GulmPriority,
	"nocallbacks": GulmNoCallBacks, "range": GulmRange,
}

// missing returns what has to be in some story and is in none.
func (s storyTally) missing() []string {
	var must []string
	for verb, flags := range map[string]Flags{
		"lock": lockFlags, "convert": convertFlags, "unlock": unlockFlags, "set": setFlags, "range": rangeFlags &^ RangeFlock,
	} {
		for _, name := range flagNames(flags &^ Timeout) {
			must = append(must, verb+" "+name)
		}
		if flags&Timeout != 0 {
			must = append(must, verb+" timeout")
		}
	}
	for _, name := range flagNames(setEntryFlags) {
		must = append(must, "entry "+name)
	}
	for m := range Mode(modes) {
		must = append(must, fmt.Sprintf("value nothing to %v", m))
		for held := range Mode(modes) {
			must = append(must, fmt.Sprintf("value %v to %v", held, m))
		}
		must = append(must, fmt.Sprintf("value %v to gone", m))
	}
	for name := range gulmAll {
		must = append(must, "gulm "+name)
	}
	must = append(must, "gulm any, the other", "range flock")
	for _, a := range []Mode{CW, PR, EX} {
		for _, b := range []Mode{CW, PR, EX} {
			if a != b {
				must = append(must, fmt.Sprintf("gulm %s to %s", gulmStates[a], gulmStates[b]))
			}
		}
	}
	var missing []string
	for _, m := range must {
		if s[m] == 0 {
			missing = append(missing, m)
		}
	}
	return missing
}

// wantAll fails if something has no story.
func (s storyTally) wantAll(t *testing.T) {
	t.Helper()
	if missing := s.missing(); len(missing) > 0 {
		t.Errorf("no story has: %q", missing)
	}
}
