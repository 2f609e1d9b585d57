package fence

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// lines feeds chunks to a sink and returns what it emitted.
func lines(r *redactor, limit int, chunks ...string) (got []string, tail string, dropped int) {
	s := newSink(r, limit, func(line string) { got = append(got, line) })
	for _, c := range chunks {
		_, _ = s.Write([]byte(c))
	}
	tail, dropped = s.close()
	return got, tail, dropped
}

func TestSinkSplitsLines(t *testing.T) {
	got, tail, dropped := lines(newRedactor(nil), 1000, "a\nb", "c\r\n\n", "\x1b[31md\x00\t\xff", "e")
	want := []string{"a", "bc", "?[31md? ?e"}
	if fmt.Sprint(got) != fmt.Sprint(want) || tail != strings.Join(want, "\n") || dropped != 0 {
		t.Errorf("lines %q tail %q dropped %d, want %q", got, tail, dropped, want)
	}
}

func TestSinkSwallowsWhatComesAfterClose(t *testing.T) {
	s := newSink(newRedactor(nil), 1000, func(line string) { t.Errorf("emitted %q", line) })
	s.close()
	if n, err := s.Write([]byte("late\n")); n != 5 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
}

func TestSecretAcrossWritesAndCutsIsHidden(t *testing.T) {
	secret := "tops3cret-" + strings.Repeat("z", 60)
	r := newRedactor([]Param{{Key: "a", Value: secret, Secret: true}})
	if got, _, _ := lines(r, 1000, "x tops", "3cret-"+strings.Repeat("z", 60), " y\n"); len(got) != 1 || got[0] != "x "+mask+" y" {
		t.Errorf("lines %q", got)
	}
	// Whatever the place at which a line is too long, no half of a secret is
	// left over, nor when earlier secrets have made the shown line shorter.
	for pad := range maxLine + 200 {
		for _, many := range []int{0, 5} {
			text := strings.Repeat(secret, many) + strings.Repeat("-", pad) + secret + strings.Repeat("-", 200)
			got, tail, _ := lines(r, 1<<20, text)
			if strings.Contains(got[0], "tops3") || strings.Contains(tail, "tops3") {
				t.Fatalf("pad %d, %d secrets before: %q", pad, many, got[0])
			}
		}
	}
}

func TestLongestSecretIsHiddenWhole(t *testing.T) {
	r := newRedactor([]Param{{Value: "abc", Secret: true}, {Value: "abcdef", Secret: true}, {Value: "", Secret: true}, {Value: "plain"}})
	if got := r.redact("abcdef abc plain"); got != mask+" "+mask+" plain" {
		t.Errorf("redacted %q", got)
	}
}

func TestPasswordKeysAreSecretByName(t *testing.T) {
	for key, want := range map[string]bool{"passwd": true, "password": true, "snmp_priv_passwd": true, "PASSWD": true, "passwd_script": false, "ip": false, "plug": false} {
		if got := secretKey(key); got != want {
			t.Errorf("%s: secret %v, want %v", key, got, want)
		}
	}
}

func FuzzSink(f *testing.F) {
	f.Add("out hunter2\nput hun", "ter2 tail", "hunter2", 100)
	f.Add(strings.Repeat("x", 1500), "abc\r\n\xff\x1b", "abc", 5000)
	f.Add("aabb", "\n\n\n", "ab", 0)
	f.Fuzz(func(t *testing.T, one, two, secret string, limit int) {
		if len(secret) > 4096 {
			return
		}
		r := newRedactor([]Param{{Value: secret, Secret: true}})
		got, tail, dropped := lines(r, limit, one, two)
		total := 0
		for _, line := range append(got, tail) {
			checkShown(t, line, secret)
		}
		for _, line := range got {
			if len(line) > maxLine+4 || strings.Contains(line, "\n") {
				t.Errorf("line of %d bytes: %q", len(line), line)
			}
			total += len(line)
		}
		if total > max(limit, 0) || dropped < 0 {
			t.Errorf("emitted %d of %d, dropped %d", total, limit, dropped)
		}
		if n := strings.Count(tail, "\n"); n >= maxTailLines || len(tail) > maxTailLines*(maxTailLine+1) {
			t.Errorf("tail of %d bytes, %d lines", len(tail), n+1)
		}
	})
}

// checkShown checks a shown text: printable, and without the secret. Secrets
// made of the characters that the sink itself writes may show up by chance.
func checkShown(t *testing.T, text, secret string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8: %q", text)
	}
	for _, c := range text {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Errorf("control character in %q", text)
		}
	}
	if secret != "" && !strings.ContainsAny(secret, "*?. \n") && strings.Contains(text, secret) {
		t.Errorf("secret %q in %q", secret, text)
	}
}

func FuzzInput(f *testing.F) {
	f.Add("ip", "192.0.2.1", "plug", "4", "n1")
	f.Add("option", "off", "action", "on", "n1")
	f.Add("passwd", "a\nb", "port", "1", "n1")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, node string) {
		plan := Plan{Node: node, Methods: []Method{{Name: "m", Steps: []Step{{
			Device: "d", Agent: "fence_x", Params: []Param{{Key: k1, Value: v1}, {Key: k2, Value: v2}},
		}}}}}
		if plan.Validate() != nil {
			return
		}
		s := plan.Methods[0].Steps[0]
		sent, err := input(node, s.Params, s.Action())
		if err != nil {
			t.Fatalf("a validated plan cannot be sent: %v", err)
		}
		text := encode(sent)
		if strings.Count(text, "\n") != len(sent) {
			t.Errorf("%d lines for %d parameters: %q", strings.Count(text, "\n"), len(sent), text)
		}
		seen := map[string]string{}
		for line := range strings.Lines(text) {
			key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if old, dup := seen[key]; !ok || dup {
				t.Errorf("line %q (before: %q)", line, old)
			}
			seen[key] = value
		}
		if seen[keyNodename] != node || seen[keyAction] != s.Action() || seen[keyOption] != s.Action() {
			t.Errorf("sent %q for node %q, action %q", text, node, s.Action())
		}
		for _, a := range aliases {
			if seen[a.newer] != seen[a.older] {
				t.Errorf("%s and %s differ in %q", a.newer, a.older, text)
			}
		}
	})
}
