package member

import (
	"strings"
	"testing"
	"unicode/utf8"

	"lock_gulmd/server/reason"
)

// TestText_staysUTF8: a text that is cut stays one that a snapshot can hold.
func TestText_staysUTF8(t *testing.T) {
	var r Registry
	for i := range 4 {
		text := strings.Repeat("x", i) + strings.Repeat("ä", MaxText) + strings.Repeat("\U0001F512", MaxText)
		name := string(rune('a' + i))
		r.Login(request(name, "boot", 1), 1, 1, 0)
		if _, why := r.Expire(Life{name, 1}, 1, text+strings.Repeat("y", i), 1); why != reason.None {
			t.Fatal(why)
		}
		r.NoteAttempt(Life{name, 1}, Attempt{Output: text + strings.Repeat("y", i)})
		r.SettleFence(Life{name, 1}, FenceAcknowledged, text+strings.Repeat("y", i), 1)
		n, _ := r.Node(name)
		for _, s := range []string{n.Fence.Reason, n.Fence.By, n.Fence.Attempts[0].Output} {
			if !utf8.ValidString(s) || len(s) > MaxText || len(s) < MaxText-3 || !strings.HasSuffix(text+strings.Repeat("y", i), s) {
				t.Errorf("a text of %d bytes was cut to %d, valid %v", len(text)+i, len(s), utf8.ValidString(s))
			}
		}
	}
}
