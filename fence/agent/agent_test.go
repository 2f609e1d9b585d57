package agent_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/fence/agent"
)

func TestSwitches(t *testing.T) {
	for _, c := range []struct {
		args        []string
		code        int
		done        bool
		out, errors string
	}{
		{nil, agent.OK, false, "", ""},
		{[]string{"-h"}, agent.OK, true, "usage", ""},
		{[]string{"-o", "metadata"}, agent.OK, true, "metadata", ""},
		{[]string{"--action=metadata"}, agent.OK, true, "metadata", ""},
		{[]string{"-x"}, agent.Error, true, "", "usage"},
	} {
		var out, errs strings.Builder
		code, done := agent.Switches(c.args, "usage", "metadata", &out, &errs)
		if code != c.code || done != c.done || out.String() != c.out || errs.String() != c.errors {
			t.Errorf("%v: %d, %v, %q, %q", c.args, code, done, out.String(), errs.String())
		}
	}
}

func TestReadInput(t *testing.T) {
	read := func(input string, fail error) (got []string, err error) {
		err = agent.ReadInput(strings.NewReader(input), func(key, value string) error {
			got = append(got, key+" is "+value)
			return fail
		})
		return got, err
	}
	got, err := read("\n# text\n  action=off  \npower-timeout=3=4\nempty=\n", nil)
	if want := []string{"action is off", "power_timeout is 3=4", "empty is "}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read("action\n", nil); err == nil || !strings.Contains(err.Error(), `"action" is not key=value`) {
		t.Errorf("a line without =: %v", err)
	}
	broken := errors.New("broken")
	if got, err := read("a=1\nb=2\n", broken); !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := read("a="+strings.Repeat("x", 70<<10), nil); err == nil && len(got) > 0 && len(got[0]) > 66<<10 {
		t.Error("reads without end")
	}
}
