package fence

import (
	"errors"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	p := func(kv ...string) []Param {
		var params []Param
		for i := 0; i < len(kv); i += 2 {
			params = append(params, Param{Key: kv[i], Value: kv[i+1]})
		}
		return params
	}
	use := func(agent string, kv ...string) Method {
		return method("m", Step{Device: "d", Agent: agent, Params: p(kv...)})
	}
	tests := []struct {
		name string
		m    Method
		want string // part of the error; empty: valid
	}{
		{"default action", use("fence_x"), ""},
		{"absolute agent", use("/usr/sbin/fence_x"), ""},
		{"off", use("fence_x", "action", "off"), ""},
		{"capital off", use("fence_x", "option", "OFF"), ""},
		{"disable", use("fence_brocade", "option", "disable"), ""},
		{"same nodename", use("fence_x", "nodename", "n1"), ""},
		{"same value twice", use("fence_x", "ip", "a", "ipaddr", "a"), ""},
		{"empty", method("m"), "no devices"},
		{"on", use("fence_x", "action", "on"), "cuts the node off"},
		{"monitor", use("fence_x", "action", "monitor"), "cuts the node off"},
		{"no agent", use(""), "not a program name"},
		{"relative agent", use("./fence_x"), "not a program name"},
		{"dots", use("/usr/sbin/../fence_x"), "not a clean path"},
		{"folder", use("sbin/fence_x"), "not a program name"},
		{"shell", use("fence_x;reboot"), "not a program name"},
		{"switch", use("-x"), "not a program name"},
		{"newline in value", use("fence_x", "plug", "1\nplug=2"), "newline"},
		{"return in value", use("fence_x", "plug", "1\rplug=2"), "newline"},
		{"zero in value", use("fence_x", "plug", "1\x00"), "zero byte"},
		{"newline in key", use("fence_x", "a\nb", "1"), "not a word"},
		{"equals in key", use("fence_x", "a=b", "1"), "not a word"},
		{"comment as key", use("fence_x", "#ip", "1"), "not a word"},
		{"empty key", use("fence_x", "", "1"), "not a word"},
		{"odd action", use("fence_x", "action", "off on"), "not a word"},
		{"other nodename", use("fence_x", "nodename", "n2"), "nodename is not n1"},
		{"given twice", use("fence_x", "plug", "1", "plug", "2"), "given twice"},
		{"two names", use("fence_x", "plug", "1", "port", "2"), "two names of one thing"},
		{"ping first", method("m", Step{Device: "a", Agent: "fence_heuristics_ping"}, Step{Device: "b", Agent: "fence_x"}), ""},
		{"ping only", use("/usr/sbin/fence_heuristics_ping"), "cuts the node off"},
		{"verify", use("fence_x", "action", "off", "verify", "no"), ""},
		{"odd verify", use("fence_x", "verify", "perhaps"), "write auto, yes or no"},
		{"two reboots", method("m", Step{Device: "a", Agent: "fence_x"}, Step{Device: "b", Agent: "fence_y", Params: p("action", "cycle")}), "write off, off, on, on"},
		{"negative limit", method("m", Step{Device: "a", Agent: "fence_x", Timeout: -1}), "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Plan{Node: "n1", Methods: []Method{tt.m}}.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.want != "" && (!errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestValidateGathersEverything(t *testing.T) {
	err := Plan{Methods: []Method{method("one"), method("two", step("d", "a b"))}}.Validate()
	for _, want := range []string{"names no node", `"one"`, `"two"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestValidateShowsNoValues(t *testing.T) {
	s := step("d", "fence_x", "passwd", "hunter2-9\n", "login", "hunter2-8")
	s.Params = append(s.Params, Param{Key: "username", Value: "hunter2-7"})
	if err := method("m", s).Validate("n1"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
