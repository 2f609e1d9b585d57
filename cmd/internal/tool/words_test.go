package tool

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain größe\n\tx":  "plain größe\n\tx",
		"\x1b[2J":           `\x1b[2J`,
		"a\xffb\x00":        `a\xffb\x00`,
		"\u202egnp.exe":     `\u202egnp.exe`,
		"bell\a it's \r\n":  `bell\a it's \r` + "\n",
		"real \ufffd there": "real \ufffd there",
	} {
		if got := Clean(text); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Line(" a\tb\n c "); got != "a b c" {
		t.Errorf("Line: %q", got)
	}
	if got := Line(" \n"); got != "-" {
		t.Errorf("Line of nothing: %q", got)
	}
}

func TestAgo(t *testing.T) {
	for ms, want := range map[int64]string{
		-1: "-", 0: "0 ms", 999: "999 ms", 1000: "1.0 s", 59_999: "59.9 s", 60_000: "1m00s", 3_599_000: "59m59s",
		3_600_000: "1h00m", 86_399_000: "23h59m", 86_400_000: "1d00h", 1_000 * 86_400_000: "1000d00h",
	} {
		if got := Ago(ms); got != want {
			t.Errorf("Ago(%d) = %q, want %q", ms, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := Table(&out, "  ", [][]string{{"A", "LONG", "NOTE"}, {"größer", "-", ""}}); err != nil {
		t.Fatal(err)
	}
	if want := "  A       LONG  NOTE\n  größer  -\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestAddress(t *testing.T) {
	c := &Cluster{}
	for host, want := range map[string]string{
		"lk1": "lk1:40040", "10.0.0.1": "10.0.0.1:40040", "10.0.0.1:7": "10.0.0.1:7", "::1": "[::1]:40040",
		"[::1]": "[::1]:40040", "[::1]:7": "[::1]:7", "lk1:65535": "lk1:65535",
		"": "", ":7": "", "lk1:": "", "lk1:0": "", "lk1:65536": "", "lk1:core": "", "a:b:c": "",
	} {
		got, err := c.address(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("address(%q) = %q, %v; want %q", host, got, err, want)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"10.0.0.1:1": false, "example.org:1": false, "localhost.example.org:1": false, "[::]:1": false, "0.0.0.0:1": false, "127.0.0.1": false,
	} {
		if isLoopback(address) != want {
			t.Errorf("isLoopback(%q) = %v", address, !want)
		}
	}
}

func TestCount(t *testing.T) {
	if Count(0, "lock") != "0 locks" || Count(1, "lock") != "1 lock" || Count(2, "lock") != "2 locks" {
		t.Error("wrong number")
	}
}
