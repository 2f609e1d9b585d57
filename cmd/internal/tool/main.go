package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lock_gulmd/proto/gulmerr"
)

// Environment variables that stand in for flags.
const (
	// EnvCert, EnvKey and EnvCA name the files of --tls-cert, --tls-key and --tls-ca.
	EnvCert = "GULM_TLS_CERT"
	EnvKey  = "GULM_TLS_KEY"
	EnvCA   = "GULM_TLS_CA"
)

// DefaultTimeout is the time limit of one command.
const DefaultTimeout = 10 * time.Second

// ExitHelp documents the exit codes; it belongs at the end of a root command's
// Long text.
const ExitHelp = `Exit status:
  0  done; for status: the cluster is quorate and a master serves
  1  tried and failed, or not confirmed
  2  wrong command line or configuration; nothing was tried
  3  no master, no quorum, or no answer within the time limit
  4  the node does not exist, or no fence of it is pending
  5  the servers refused`

// Env is what a command works with: its streams and the common flags.
type Env struct {
	// Stdin, Stdout and Stderr are the command's streams.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Config is the folder of the configuration; empty lets ccs.Find look.
	Config string
	// JSON asks for one JSON object on Stdout instead of text.
	JSON bool
	// Timeout bounds what a command does over the network; positive.
	Timeout time.Duration
	// Hosts are the lock servers to begin with; empty means those of the configuration.
	Hosts []string
	// Cert, Key and CA are PEM files: all three or none.
	Cert, Key, CA string

	started bool
}

// UsageError is a mistake in the command line; Main shows the usage after it.
type UsageError struct {
	// Err says what is wrong.
	Err error
}

// Error returns what is wrong.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Usage returns a *UsageError with a formatted message.
func Usage(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// Main runs one command line and returns its exit code. Build returns the
// command for an Env that is filled in before any RunE is called. Errors go to
// stderr with what to do about them.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, build func(*Env) *cobra.Command) int {
	env := &Env{Stdin: stdin, Stdout: stdout, Stderr: stderr}
	root := build(env)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.Version = Version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "show the version")
	// Not nil, for which cobra would take the arguments of the process.
	root.SetArgs(append([]string{}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	env.addFlags(root)
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return env.begin() }
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return gulmerr.ExitOK
	}
	return env.fail(root.Name(), cmd, err)
}

func (e *Env) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&e.Config, "config", "", "folder `DIR` of cluster.ccs, nodes.ccs and fence.ccs (default $GULM_CONFIG, else /etc/gulm)")
	flags.StringSliceVar(&e.Hosts, "server", nil, "lock server to begin with, `HOST[:PORT]` or name; repeatable (default those of the configuration)")
	flags.BoolVar(&e.JSON, "json", false, "print one JSON object for programs")
	flags.DurationVar(&e.Timeout, "timeout", DefaultTimeout, "time limit `D` of the whole command")
	flags.StringVar(&e.Cert, "tls-cert", os.Getenv(EnvCert), "PEM `FILE` of your certificate ($"+EnvCert+")")
	flags.StringVar(&e.Key, "tls-key", os.Getenv(EnvKey), "PEM `FILE` of its key ($"+EnvKey+")")
	flags.StringVar(&e.CA, "tls-ca", os.Getenv(EnvCA), "PEM `FILE` of the cluster's CA ($"+EnvCA+")")
	// The values of the environment are nobody's default.
	for _, name := range []string{"tls-cert", "tls-key", "tls-ca"} {
		flags.Lookup(name).DefValue = ""
	}
}

// begin checks the flags when the command line is known to be sound.
func (e *Env) begin() error {
	if e.Timeout <= 0 {
		return Usage("--timeout %v is no time limit: give a positive one, as in --timeout 10s", e.Timeout)
	}
	var missing []string
	for name, value := range map[string]string{"--tls-cert": e.Cert, "--tls-key": e.Key, "--tls-ca": e.CA} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if n := len(missing); n == 1 || n == 2 {
		return Usage("--tls-cert, --tls-key and --tls-ca go together: %s missing", strings.Join(sorted(missing), " and "))
	}
	e.started = true
	return nil
}

// Limit returns a context that ends after the time limit.
func (e *Env) Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.Timeout)
}

// fail tells the error and returns the exit code.
func (e *Env) fail(program string, cmd *cobra.Command, err error) int {
	fmt.Fprintf(e.Stderr, "%s: %s\n", program, Clean(err.Error()))
	var usage *UsageError
	// Whatever fails before the command begins is a mistake in its arguments.
	if errors.As(err, &usage) || !e.started {
		fmt.Fprintf(e.Stderr, "\n%s", cmd.UsageString())
		return gulmerr.ExitUsage
	}
	if text := advice(err); text != "" {
		fmt.Fprintf(e.Stderr, "what to do: %s\n", text)
	}
	return gulmerr.ExitCode(err)
}

// PrintJSON writes v to Stdout as one indented JSON object.
func (e *Env) PrintJSON(v any) error {
	enc := json.NewEncoder(e.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Version returns the version that this program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown version)"
	}
	return info.Main.Version
}
