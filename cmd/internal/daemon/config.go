package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"lock_gulmd/ccs"
)

// usage is shown by --help.
const usage = `usage: lock_gulmd [options]

The lock server. Without options it reads cluster.ccs, nodes.ccs and fence.ccs
from the folder named by --config, by GULM_CONFIG, or from /etc/gulm, and serves
as the server that has this host's name.

  --config DIR     folder of the configuration
  --name NAME      serve as this server
  --check          check the configuration, show what would be used, and stop
  --version        show the version
  --help           show this text

Settings of this daemon, each also as GULM_DATA_DIR and so on, and as data_dir
and so on in lock_gulmd.toml in the same folder; an option wins over the
environment, the environment over the file:

  --data-dir DIR                    replicated log (/var/lib/gulm)
  --core-listen, --raft-listen ADDRESS:PORT   (those of nodes.ccs)
  --tls-cert, --tls-key, --tls-ca FILE        all three are needed
  --development                     no certificates; loopback addresses only
  --log-level debug|info|warn|error, --log-format text|json
  --log-store wal|bolt              (wal)
  --agent-path DIR:DIR              where fence agents are
  --heartbeat-timeout, --election-timeout, --leader-lease DURATION   of raft

Signals: TERM or INT stop it cleanly, a second one at once; HUP reloads the
certificates. Exit status: 0 stopped as asked, 1 failed, 2 configuration.
`

// commandLine is what was asked for.
type commandLine struct {
	config               string
	check, version, help bool
	flags                *pflag.FlagSet
}

func parse(args []string) (*commandLine, error) {
	c := &commandLine{flags: pflag.NewFlagSet("lock_gulmd", pflag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	c.flags.Usage = func() {}
	c.flags.StringVar(&c.config, "config", "", "")
	c.flags.BoolVar(&c.check, "check", false, "")
	c.flags.BoolVarP(&c.version, "version", "V", false, "")
	c.flags.BoolVarP(&c.help, "help", "h", false, "")
	addFlags(c.flags)
	if err := c.flags.Parse(args); err != nil {
		return nil, err
	}
	if rest := c.flags.Args(); len(rest) > 0 && !c.help && !c.version {
		return nil, fmt.Errorf("unexpected %q: lock_gulmd takes only options", rest[0])
	}
	return c, nil
}

// configuration is everything that a daemon starts with, checked.
type configuration struct {
	// dir is the configuration folder, found because of dirSource.
	dir, dirSource string
	cluster        *ccs.Config
	self           ccs.Server
	nameSource     string
	settings       Settings
	sources        map[string]string // of each setting
	certs          *certs            // nil in development mode
}

// configure finds, reads and checks everything. It creates nothing. The lines
// that it returns say all that is wrong.
func configure(cmd *commandLine) (*configuration, []string) {
	c := &configuration{}
	var err error
	if c.dir, c.dirSource, err = ccs.Find(cmd.config); err != nil {
		return nil, []string{err.Error()}
	}
	var faults, more []string
	if c.cluster, err = ccs.Load(c.dir); err != nil {
		faults = append(faults, ccsFaults(err)...)
	}
	c.settings, c.sources, more = readSettings(c.dir, cmd.flags, os.Getenv)
	faults = append(faults, more...)
	if len(more) == 0 { // else the values are not those that were meant
		faults = append(faults, c.settings.validate()...)
	}
	if c.cluster == nil {
		return nil, faults
	}
	c.self, c.nameSource, err = whoAmI(c.cluster, c.settings.Name, c.sources["name"], os.Hostname)
	if err != nil {
		return nil, append(faults, err.Error())
	}
	faults = append(faults, c.settings.listenFaults(c.cluster, c.self)...)
	if s := &c.settings; !s.Development && s.TLSCert != "" && s.TLSKey != "" && s.TLSCA != "" {
		if c.certs, err = newCerts(s, c.cluster, c.self.Name); err != nil {
			faults = append(faults, strings.Split(err.Error(), "\n")...)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// ccsFaults returns the faults of the cluster configuration one by one.
func ccsFaults(err error) []string {
	var list *ccs.Faults
	if !errors.As(err, &list) {
		return []string{err.Error()}
	}
	var out []string
	for _, f := range list.List {
		out = append(out, f.String())
	}
	return out
}

// print writes the effective configuration.
func (c *configuration) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# configuration folder: %s (%s)\n", c.dir, c.dirSource)
	fmt.Fprintf(&b, "# this is %s (%s), rank %d of %d in cluster %s\n\n", c.self.Name, c.nameSource, c.self.Rank, len(c.cluster.Lock.Servers), c.cluster.Name)
	fmt.Fprintf(&b, "# %s\n", SettingsFile)
	for _, s := range settings[1:] { // the name is above
		source := c.sources[s.key]
		if source == "default" && s.def == "" && s.get(&c.settings) != "" {
			source = "default, from " + ccs.NodesFile
		}
		fmt.Fprintf(&b, "%-60s # %s\n", s.key+" = "+show(s.get(&c.settings)), source)
	}
	fmt.Fprintln(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return c.cluster.Print(w)
}
