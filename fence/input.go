package fence

import (
	"fmt"
	"strings"
)

// Keys that the runner sends itself.
const (
	keyAction   = "action"
	keyOption   = "option"
	keyNodename = "nodename"
)

// keyVerify is read by the runner and not sent.
const keyVerify = "verify"

// verifyMode says whether the outcome of an off is checked.
type verifyMode string

const (
	verifyAuto verifyMode = "auto"
	verifyYes  verifyMode = "yes"
	verifyNo   verifyMode = "no"
)

// verifyMode reads the step's verify parameter.
func (s Step) verifyMode() (verifyMode, error) {
	mode := verifyAuto
	for _, p := range s.Params {
		if p.Key != keyVerify {
			continue
		}
		switch mode = verifyMode(strings.ToLower(p.Value)); mode {
		case verifyAuto, verifyYes, verifyNo:
		default:
			return verifyAuto, fmt.Errorf("parameter verify is %q; write auto, yes or no", p.Value)
		}
	}
	return mode, nil
}

// aliases pairs the newer and the older name of the parameters that both
// generations of agents understand. When the configuration gives one, the other
// is added. The action's pair is dealt with apart: it is always sent.
var aliases = []struct{ newer, older string }{
	{"ip", "ipaddr"},
	{"username", "login"},
	{"password", "passwd"},
	{"plug", "port"},
}

// input returns what the agent gets, in order: the step's own parameters, with
// action put in the place of any that they name and without verify; the missing
// halves of old and new key names; action and option; nodename.
//
// Two different values for what an agent may take as one parameter are refused:
// agents differ in which of them wins, and a wrong plug is a wrong machine. For
// the same reason nodename may not name anybody but the victim.
func input(node string, params []Param, action string) ([]Param, error) {
	lines := make([]Param, 0, len(params)+len(aliases)+3)
	at := make(map[string]int, len(params))
	for _, p := range params {
		if !validName(p.Key) {
			return nil, fmt.Errorf("parameter key %q is not a word", p.Key)
		}
		if badValue(p.Value) {
			return nil, fmt.Errorf("the value of %s holds a newline or a zero byte; agents read one line per parameter", p.Key)
		}
		if p.Key == keyAction || p.Key == keyOption {
			p.Value = action
		}
		p.Secret = p.Secret || secretKey(p.Key)
		if i, ok := at[p.Key]; ok {
			if lines[i].Value != p.Value {
				return nil, fmt.Errorf("parameter %s is given twice with different values", p.Key)
			}
			lines[i].Secret = lines[i].Secret || p.Secret
			continue
		}
		if p.Key == keyVerify {
			continue
		}
		at[p.Key] = len(lines)
		lines = append(lines, p)
	}
	if i, ok := at[keyNodename]; ok && lines[i].Value != node {
		return nil, fmt.Errorf("parameter nodename is not %s; leave it out, it is always sent", node)
	}
	lines, err := addAliases(lines, at)
	if err != nil {
		return nil, err
	}
	for _, p := range []Param{{Key: keyAction, Value: action}, {Key: keyOption, Value: action}, {Key: keyNodename, Value: node}} {
		if _, ok := at[p.Key]; !ok {
			lines = append(lines, p)
		}
	}
	return lines, nil
}

func addAliases(lines []Param, at map[string]int) ([]Param, error) {
	for _, a := range aliases {
		n, hasNewer := at[a.newer]
		o, hasOlder := at[a.older]
		switch {
		case hasNewer && hasOlder:
			if lines[n].Value != lines[o].Value {
				return nil, fmt.Errorf("parameters %s and %s are two names of one thing but have different values; keep %s", a.newer, a.older, a.newer)
			}
		case hasNewer:
			lines = append(lines, Param{Key: a.older, Value: lines[n].Value, Secret: lines[n].Secret})
		case hasOlder:
			lines = append(lines, Param{Key: a.newer, Value: lines[o].Value, Secret: lines[o].Secret})
		}
	}
	return lines, nil
}

// secretKey reports whether a key names a password, whatever the configuration
// says about it. The scripts that print one are no secret.
func secretKey(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "passw") && !strings.HasSuffix(key, "script")
}

// encode renders parameters as an agent reads them.
func encode(lines []Param) string {
	var b strings.Builder
	for _, p := range lines {
		b.WriteString(p.Key)
		b.WriteByte('=')
		b.WriteString(p.Value)
		b.WriteByte('\n')
	}
	return b.String()
}
