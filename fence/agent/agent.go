// Package agent is what fence agents have in common: the protocol of the
// fence-agents project as it is seen from the agent.
package agent

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Exit statuses, as the fence-agents project has them.
const (
	// OK: done; of a status: on.
	OK = 0
	// Error: failed.
	Error = 1
	// Off is of a status only.
	Off = 2
)

// maxInput bounds what is read, in bytes.
const maxInput = 64 << 10

// Switches looks at the command line, without the program's name; a fencer gives
// none. If there is something on it, done is true and code the exit status: -h
// prints usage, -o metadata prints metadata, anything else is an error.
func Switches(args []string, usage, metadata string, stdout, stderr io.Writer) (code int, done bool) {
	switch strings.Join(args, " ") {
	case "":
		return OK, false
	case "-h", "--help":
		fmt.Fprint(stdout, usage)
		return OK, true
	case "-o metadata", "--action metadata", "--action=metadata":
		fmt.Fprint(stdout, metadata)
		return OK, true
	}
	fmt.Fprint(stderr, usage)
	return Error, true
}

// ReadInput calls set for each key=value line of standard input, in order: blank
// lines and those with # are skipped, and - and _ are the same in keys. It ends with
// the first error of set, of the input, or about a line of another form.
func ReadInput(stdin io.Reader, set func(key, value string) error) error {
	lines := bufio.NewScanner(io.LimitReader(stdin, maxInput))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("input line %q is not key=value", line)
		}
		if err := set(strings.ReplaceAll(key, "-", "_"), value); err != nil {
			return err
		}
	}
	return lines.Err()
}
