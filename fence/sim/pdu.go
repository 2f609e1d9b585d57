package sim

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Exit statuses, as the fence-agents project has them.
const (
	exitOK    = 0
	exitError = 1
	exitOff   = 2 // of a status only
)

// pduMetadata says that the agent can be asked for the status.
const pduMetadata = `<?xml version="1.0" ?><resource-agent name="fence_sim_pdu"><parameters/><actions>` +
	`<action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/>` +
	`</actions></resource-agent>`

// PDU is a power strip for tests with real processes: a folder with one file for
// each outlet that is on, OUTLET.on. Several strips in one Rack feed machines.
type PDU struct{ Dir string }

// Rack is a folder of strips, one folder each. A machine has power as long as one
// of its outlets is on, which all have its name.
type Rack struct{ Dir string }

// PDU returns a strip of the rack, made if it is not there.
func (r Rack) PDU(name string) (PDU, error) {
	p := PDU{filepath.Join(r.Dir, name)}
	return p, os.MkdirAll(p.Dir, 0o755)
}

// Set switches an outlet on or off.
func (p PDU) Set(outlet string, on bool) error {
	file := filepath.Join(p.Dir, outlet+".on")
	if on {
		return os.WriteFile(file, nil, 0o644)
	}
	err := os.Remove(file)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// On tells whether an outlet is on.
func (p PDU) On(outlet string) bool {
	_, err := os.Stat(filepath.Join(p.Dir, outlet+".on"))
	return err == nil
}

// Dark returns how often a machine was seen without any power right after one of
// its outlets was switched off.
func (r Rack) Dark(machine string) int {
	text, _ := os.ReadFile(filepath.Join(r.Dir, machine+".dark"))
	return strings.Count(string(text), "\n")
}

// note writes down that the machine has no power, if it has none.
func (r Rack) note(machine string) error {
	if on, err := filepath.Glob(filepath.Join(r.Dir, "*", machine+".on")); err != nil || len(on) > 0 {
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.Dir, machine+".dark"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("dark\n")
	return err
}

// PDUMain is an agent for the strips of a rack: action, plug and ip, the strip's
// folder, come on standard input. It returns the exit status. Its reboot is off and
// on at once, as strips do it.
func PDUMain(stdin io.Reader, stdout, stderr io.Writer) int {
	in := map[string]string{"action": "reboot"}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			in[key] = value
		}
	}
	p, outlet := PDU{in["ip"]}, in["plug"]
	code, err := p.act(in["action"], outlet, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "Failed: %v\n", err)
	}
	return code
}

func (p PDU) act(action, outlet string, stdout io.Writer) (int, error) {
	if action == "metadata" {
		fmt.Fprintln(stdout, pduMetadata)
		return exitOK, nil
	}
	if info, err := os.Stat(p.Dir); err != nil || !info.IsDir() || outlet == "" {
		return exitError, fmt.Errorf("no strip %q with outlet %q", p.Dir, outlet)
	}
	was := p.On(outlet)
	switch action {
	case "monitor":
		return exitOK, nil
	case "status":
		if was {
			return exitOK, nil
		}
		return exitOff, nil
	case "on":
		return exitOK, p.Set(outlet, true)
	case "off", "reboot":
	default:
		return exitError, fmt.Errorf("action %q is not known", action)
	}
	if !was {
		fmt.Fprintln(stdout, "Success: Already OFF")
	}
	err := p.Set(outlet, false)
	if err == nil {
		err = Rack{filepath.Dir(p.Dir)}.note(outlet)
	}
	if err == nil && action == "reboot" {
		err = p.Set(outlet, true)
	}
	if err != nil {
		return exitError, err
	}
	return exitOK, nil
}
