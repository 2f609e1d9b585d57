package fence

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Actions of the fence agents that this package knows by name.
const (
	actionOff      = "off"
	actionOn       = "on"
	actionReboot   = "reboot"
	actionStatus   = "status"
	actionMonitor  = "monitor"
	actionMetadata = "metadata"
)

// cutting lists the actions after which a node can no longer write, and whether
// the node is switched on again by the same action. Steps may ask for others
// (on, above all), but a method with none of these would succeed without having
// fenced anybody: it is refused.
var cutting = map[string]struct{ back bool }{
	actionOff:    {back: false},
	"disable":    {back: false},
	actionReboot: {back: true},
	"reset":      {back: true},
	"cycle":      {back: true},
}

// onlyAsk lists agents that stop nothing, whatever action they are asked for:
// they stand before others in a method and may forbid it.
var onlyAsk = map[string]bool{
	"fence_heuristics_ping": true,
	"fence_evacuate":        true,
}

// maxName bounds agent names and parameter keys, in bytes.
const maxName = 255

// Validate reports everything that makes the plan unfit to run, all at once:
// no node name, no methods, and the faults of each method (see
// Method.Validate). A Runner refuses the same things, method by method; readers
// of the configuration call this so that the operator learns of them before a
// node has failed.
func (p Plan) Validate() error {
	errs := []error{p.check()}
	for _, m := range p.Methods {
		if err := m.Validate(p.Node); err != nil {
			errs = append(errs, fmt.Errorf("method %q: %w", m.Name, err))
		}
	}
	return errors.Join(errs...)
}

// check reports the faults that leave a plan with nothing to try.
func (p Plan) check() error {
	switch {
	case p.Node == "":
		return fmt.Errorf("%w: the plan names no node", ErrPlan)
	case badValue(p.Node):
		return fmt.Errorf("%w: node name %q cannot be sent to an agent", ErrPlan, p.Node)
	case len(p.Methods) == 0:
		return fmt.Errorf("%w: node %s has no fence method; add one to nodes.ccs", ErrPlan, p.Node)
	}
	return nil
}

// Validate reports why the method must not be used for node: it has no steps;
// none of its steps takes the node's access away; it resets the node by more
// than one step in a way that Expand cannot turn into off and on, so that a
// machine with two power feeds would never be without power; or an agent name or
// parameter cannot be passed on. No error text holds
// the value of a parameter, save the action.
func (m Method) Validate(node string) error {
	if len(m.Steps) == 0 {
		return fmt.Errorf("%w: it has no devices, so it would fence nobody; add a device or remove the method", ErrPlan)
	}
	var errs []error
	cuts, reboots := 0, 0
	for i, s := range m.Expand() {
		if err := s.validate(node); err != nil {
			errs = append(errs, fmt.Errorf("%w: step %d, device %q: %w", ErrPlan, i+1, s.Device, err))
		}
		if s.cuts() {
			cuts++
			if cutting[s.Action()].back && !notFeeds[baseName(s.Agent)] {
				reboots++
			}
		}
	}
	if cuts == 0 {
		errs = append(errs, fmt.Errorf("%w: none of its steps cuts the node off; one must ask for off, disable, reboot, reset or cycle", ErrPlan))
	}
	if reboots > 1 {
		errs = append(errs, fmt.Errorf("%w: it resets the node by %d devices one after the other, so a node fed by both never loses power; write off, off, on, on", ErrPlan, reboots))
	}
	return errors.Join(errs...)
}

// cuts tells whether the step takes the node's access away.
func (s Step) cuts() bool {
	_, ok := cutting[s.Action()]
	return ok && !onlyAsk[path.Base(s.Agent)]
}

func (s Step) validate(node string) error {
	if err := checkAgent(s.Agent); err != nil {
		return err
	}
	if s.Timeout < 0 {
		return fmt.Errorf("its time limit %v is negative", s.Timeout)
	}
	if !validName(s.Action()) {
		return fmt.Errorf("its action %q is not a word", s.Action())
	}
	if _, err := s.verifyMode(); err != nil {
		return err
	}
	_, err := input(node, s.Params, s.Action())
	return err
}

// checkAgent refuses names that are not plainly one program: they come from a
// configuration file and end up in execve.
func checkAgent(agent string) error {
	bare := agent
	if path.IsAbs(agent) {
		if path.Clean(agent) != agent || agent == "/" {
			return fmt.Errorf("agent %q is not a clean path; write it without \".\", \"..\" and doubled slashes", agent)
		}
		bare = strings.ReplaceAll(agent[1:], "/", "")
	}
	if !validName(bare) {
		return fmt.Errorf("agent %q is not a program name; write a bare name or an absolute path of letters, digits, \".\", \"_\", \"-\" and \"+\"", agent)
	}
	return nil
}

// validName reports whether s is made of the characters that agent names,
// actions and parameter keys need, and does not look like a switch.
func validName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '-' || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("._-+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// badValue reports whether v cannot be sent as the value of a line.
func badValue(v string) bool { return strings.ContainsAny(v, "\n\r\x00") }
