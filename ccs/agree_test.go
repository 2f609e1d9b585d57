package ccs

import (
	"slices"
	"strings"
	"testing"
)

// TestDigest changes everything that must agree, one at a time, and everything
// that need not.
func TestDigest(t *testing.T) {
	plain := mustBase(t)
	for _, c := range []struct {
		old, text string
		keys      []string // that Diff must name
	}{
		{`"farm7"`, `"farm8"`, []string{"cluster/name"}},
		{`"lk1", "lk2"`, `"lk2", "lk1"`, []string{"cluster/lock_gulm/servers"}},
		{"heartbeat_rate = 2.0", "heartbeat_rate = 2.5", []string{"cluster/lock_gulm/heartbeat_rate"}},
		{"10.8.0.21", "10.8.0.22", []string{"nodes/fs01/address", "nodes/fs01/ip_interfaces/eth1"}},
		{`usedev = "eth1"`, "", []string{"nodes/fs01/address"}},
		{"core_port = 50040", "core_port = 50041", []string{"nodes/lk2/core_port"}},
		{"fs01 {", "fs02 {", []string{"nodes/fs01/address", "nodes/fs02/address"}},
		{"port = 1 ", "port = 7 ", []string{"nodes/lk1/fence/1:power/1/port"}},
		{"board {", "bmc {", []string{"nodes/fs01/fence/1:board/1", "nodes/fs01/fence/1:bmc/1"}},
		{`option = "off" timeout = 5`, `option = "off" timeout = 6`, []string{"nodes/fs01/fence/2:both/2/timeout"}},
		{`option = "off" timeout = 5`, `option = "off"`, []string{"nodes/fs01/fence/2:both/2/timeout"}},
		{"geheim-node", "geheim-other", []string{"nodes/fs01/fence/1:board/1/passwd"}},
		{"geheim-pdu", "geheim-other", []string{"fence_devices/pdu/passwd"}},
		{"fence_ipmilan", "fence_redfish", []string{"fence_devices/bmc/agent"}},
		{"timeout = 7.5", "timeout = 8.5", []string{"fence_devices/pdu2/timeout"}},
		{`lanplus = "yes"`, `lanplus = "no"`, []string{"fence_devices/bmc/lanplus"}},
		{`lanplus = "yes"`, "", []string{"fence_devices/bmc/lanplus"}},
	} {
		other := mustBase(t, c.old, c.text)
		if other.Digest() == plain.Digest() {
			t.Errorf("the digest stays the same when %q becomes %q", c.old, c.text)
		}
		diff := Diff(plain.Settings(), other.Settings())
		for _, key := range c.keys {
			if !slices.ContainsFunc(diff, func(line string) bool { return strings.HasPrefix(line, key+": ") }) {
				t.Errorf("%q to %q: Diff gives %q, want a line for %s", c.old, c.text, diff, key)
			}
		}
	}
	for _, c := range [][2]string{
		{"heartbeat_rate = 2.0", "heartbeat_rate = 2 # seconds"},
		{"heartbeat_rate = 2.0", ""},
		{"heartbeat_rate = 2.0", "heartbeat_rate = 2.0 allowed_misses = 0x2"},
		{`ipaddr = "10.9.1.1" login = "gulm"`, `login = 'gulm'  ipaddr = '10.9.1.1'`},
		{"cluster {", "# comment\ncluster\n\n{"},
		{"timeout = 7.5", "timeout = 7.50"},
		{`agent = "fence_apc"`, `timeout = 60 agent = "fence_apc"`},
		{"port = 4 ", `port = "4" `},
	} {
		other := mustBase(t, c[0], c[1])
		if other.Digest() != plain.Digest() {
			t.Errorf("the digest changes when %q becomes %q: %q", c[0], c[1], Diff(plain.Settings(), other.Settings()))
		}
		if diff := Diff(plain.Settings(), other.Settings()); len(diff) > 0 {
			t.Errorf("%q to %q makes a difference: %q", c[0], c[1], diff)
		}
	}
	if len(plain.Digest()) != 64 {
		t.Errorf("the digest is %q", plain.Digest())
	}
}

// TestDigestAllLockSettings proves that no key of lock_gulm is forgotten.
func TestDigestAllLockSettings(t *testing.T) {
	plain := mustBase(t, "heartbeat_rate = 2.0", "")
	for _, s := range lockSettings {
		text := s.show(s.def * 3 / 2)
		replace := s.key + " = " + text
		if s.key == "lt_high_locks" {
			replace = s.key + " = 1000"
		}
		other := mustBase(t, "heartbeat_rate = 2.0", replace)
		if other.Digest() == plain.Digest() {
			t.Errorf("the digest does not depend on %s", s.key)
		}
		diff := Diff(plain.Settings(), other.Settings())
		if len(diff) == 0 || !slices.ContainsFunc(diff, func(line string) bool { return strings.Contains(line, "/"+s.key+": ") }) {
			t.Errorf("Diff does not name %s: %q", s.key, diff)
		}
	}
}

func TestDiff(t *testing.T) {
	a := []Setting{{"b", "1"}, {"a", "1"}, {"same", "x"}}
	b := []Setting{{"same", "x"}, {"b", "2"}, {"c", "3"}}
	want := []string{"a: 1 against not set", "b: 1 against 2", "c: not set against 3"}
	if got := Diff(a, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Diff(a, a); len(got) != 0 {
		t.Errorf("a differs from itself: %q", got)
	}
}
