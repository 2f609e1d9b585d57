package lock

import (
	"fmt"
	"strconv"
)

// bury is what becomes of the locks of the dead.
func (s *story) bury(c *command) (string, error) {
	t, node := s.table, uint32(c.session)
	count := func(n int) string { return fmt.Sprintf("%d locks\n", n) }
	switch c.verb {
	case "bury":
		return count(t.Bury(c.session)), nil
	case "bury-orphans":
		return count(t.Bury(OrphansOf(node))), nil
	case "doubt":
		t.DoubtRemains(node)
		return "", nil
	case "trust":
		t.TrustRemains(node, nil)
		return "", nil
	}
	n, err := strconv.ParseUint(c.words[1], 10, 32)
	if err != nil {
		return "", err
	}
	var mask []byte
	if len(c.words) > 2 {
		mask = []byte(c.words[2])
	}
	switch c.verb {
	case "freeze-in":
		return count(t.FreezeIn(c.session, uint32(n), mask)), nil
	case "release-in":
		return count(t.ReleaseIn(c.session, uint32(n), mask, 0)), nil
	default: // release-remains
		return count(t.ReleaseIn(RemainsOf(node), uint32(n), mask, Session(c.numbers["from"]))), nil
	}
}
