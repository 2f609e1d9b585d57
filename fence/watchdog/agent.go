package watchdog

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/fence/agent"
)

//go:embed metadata.xml
var metadata string

const usage = `fence_watchdog: a fence agent that waits until the node's own watchdog has fired.
It reads key=value lines on standard input:
  action            off, reboot (both wait), status, monitor, metadata; reboot if not given
  nodename          the machine
  armed_ms          what the node said at login of its watchdog's timeout, milliseconds;
                    without it nothing is proved and off and reboot fail
  expiry            silence after which the servers expire the node, seconds
  expiry_ms         the same in milliseconds; the longer one counts
  watchdog_timeout  the watchdog's timeout if it is longer than the node says, seconds
  hardware_timeout  what the device may take longer, seconds (5)
  margin            seconds to wait on top (10)
It waits for expiry + timeout + hardware_timeout + margin from its start.
Switches: -h this text, -o metadata the metadata.
`

// Main runs the agent once and returns its exit status: 0 done, 1 failed, or
// stopped because ctx ended. args are the command line without the program's name;
// a fencer gives none.
func Main(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args []string) int {
	if code, done := agent.Switches(args, usage, metadata, stdout, stderr); done {
		return code
	}
	if err := run(ctx, stdin, stdout); err != nil {
		fmt.Fprintf(stderr, "Failed: %v\n", err)
		return agent.Error
	}
	return agent.OK
}

func run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	in, err := readInput(stdin)
	if err != nil {
		return err
	}
	switch in.action {
	case "metadata":
		fmt.Fprint(stdout, metadata)
		return nil
	case "monitor":
		fmt.Fprintf(stdout, "a fence by watchdog takes %s\n", explain(in.times))
		return nil
	case "status":
		return fmt.Errorf("a watchdog cannot be asked for the power of its machine; a fence takes %s", explain(in.times))
	case "off", "reboot":
	default:
		return fmt.Errorf("action %q is not one of off, reboot, status, monitor, metadata", in.action)
	}
	if !in.armed {
		return fmt.Errorf("armed_ms is not given: node %s did not say that its watchdog is armed, so waiting proves nothing", in.node)
	}
	fmt.Fprintf(stdout, "waiting until the watchdog of %s must have fired: %s\n", in.node, explain(in.times))
	timer := time.NewTimer(in.times.Wait())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return fmt.Errorf("stopped before the watchdog must have fired")
	}
	fmt.Fprintln(stdout, "Success: the watchdog must have fired")
	return nil
}

// explain says how a wait comes about.
func explain(w fence.Watchdog) string {
	return fmt.Sprintf("%v (expiry %v + watchdog %v + hardware %v + margin %v)", w.Wait(), w.Expiry, w.Timeout, w.Hardware, w.Margin)
}

// settings are the agent's input.
type settings struct {
	action, node string
	armed        bool
	params       []fence.Param
	times        fence.Watchdog
}

// numbers are the keys that must be readable if they are given.
var numbers = map[string]bool{
	"armed_ms": true, "expiry": true, "expiry_ms": true, "watchdog_timeout": true, "hardware_timeout": true, "margin": true,
}

// readInput reads the settings; unknown keys are ignored.
func readInput(stdin io.Reader) (settings, error) {
	in := settings{action: "reboot"}
	if err := agent.ReadInput(stdin, in.set); err != nil {
		return in, err
	}
	in.times = fence.WatchdogOf(in.params)
	return in, nil
}

// set takes one setting. A number that cannot be read is an error here: a shorter
// wait would be a lie.
func (in *settings) set(key, value string) error {
	switch key {
	case "action", "option":
		in.action = strings.ToLower(value)
	case "nodename":
		in.node = value
	}
	if !numbers[key] {
		return nil
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0 && n < 1e9) {
		return fmt.Errorf("%s is %q; write a number of seconds, or of milliseconds for a key that ends in _ms", key, value)
	}
	in.armed = in.armed || key == "armed_ms" && n > 0
	in.params = append(in.params, fence.Param{Key: key, Value: value})
	return nil
}
