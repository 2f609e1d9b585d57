package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"lock_gulmd/server/replica"
)

// SettingsFile is the file of the daemon's settings, in the folder of the
// cluster configuration. It may be missing.
const SettingsFile = "lock_gulmd.toml"

// Defaults of settings that have one of their own.
const (
	defaultDataDir   = "/var/lib/gulm"
	defaultAgentPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Settings are what belongs to one daemon and not to the cluster: where its data
// lies, where it listens, how it logs and who it proves to be.
type Settings struct {
	// Name is this server's; empty means the host's. It cannot be set in the file.
	Name string `mapstructure:"name"`
	// DataDir is the folder of the replicated log, made if it is not there.
	DataDir string `mapstructure:"data_dir"`
	// CoreListen and RaftListen are host:port; empty means those of nodes.ccs.
	CoreListen string `mapstructure:"core_listen"`
	RaftListen string `mapstructure:"raft_listen"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `mapstructure:"log_level"`
	LogFormat string `mapstructure:"log_format"`
	// Development is plain text on loopback addresses, where everybody is believed.
	Development bool `mapstructure:"development"`
	// TLSCert, TLSKey and TLSCA are PEM files; all are needed but in development.
	TLSCert string `mapstructure:"tls_cert"`
	TLSKey  string `mapstructure:"tls_key"`
	TLSCA   string `mapstructure:"tls_ca"`
	// HeartbeatTimeout, ElectionTimeout and the raft lease are those of
	// replica.Config: between servers, not of nodes.
	HeartbeatTimeout time.Duration `mapstructure:"heartbeat_timeout"`
	ElectionTimeout  time.Duration `mapstructure:"election_timeout"`
	RaftLease        time.Duration `mapstructure:"leader_lease"` // raft's word
	// LogStore is wal or bolt.
	LogStore string `mapstructure:"log_store"`
	// AgentPath is the list of folders in which fence agents are looked for.
	AgentPath string `mapstructure:"agent_path"`
}

// setting describes one key of Settings.
type setting struct {
	// key is the name in the file. The flag is the key with dashes, the
	// environment variable GULM_ and the key in capitals.
	key string
	// def is the default; a duration of 0 stands for one that follows from
	// heartbeat_timeout, an empty address for that of nodes.ccs.
	def any
	// get returns the value.
	get func(*Settings) any
}

// settings are all keys, in the order in which they are shown.
var settings = []setting{
	{"name", "", func(s *Settings) any { return s.Name }},
	{"data_dir", defaultDataDir, func(s *Settings) any { return s.DataDir }},
	{"core_listen", "", func(s *Settings) any { return s.CoreListen }},
	{"raft_listen", "", func(s *Settings) any { return s.RaftListen }},
	{"tls_cert", "", func(s *Settings) any { return s.TLSCert }},
	{"tls_key", "", func(s *Settings) any { return s.TLSKey }},
	{"tls_ca", "", func(s *Settings) any { return s.TLSCA }},
	{"development", false, func(s *Settings) any { return s.Development }},
	{"log_level", "info", func(s *Settings) any { return s.LogLevel }},
	{"log_format", "text", func(s *Settings) any { return s.LogFormat }},
	{"log_store", replica.LogStoreWAL, func(s *Settings) any { return s.LogStore }},
	{"agent_path", defaultAgentPath, func(s *Settings) any { return s.AgentPath }},
	{"heartbeat_timeout", replica.DefaultHeartbeatTimeout, func(s *Settings) any { return s.HeartbeatTimeout }},
	{"election_timeout", time.Duration(0), func(s *Settings) any { return s.ElectionTimeout }},
	{"leader_lease", time.Duration(0), func(s *Settings) any { return s.RaftLease }}, // raft's word
}

func (s setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }
func (s setting) env() string  { return "GULM_" + strings.ToUpper(s.key) }

// addFlags adds a flag for each setting.
func addFlags(flags *pflag.FlagSet) {
	for _, s := range settings {
		if _, ok := s.def.(bool); ok {
			flags.Bool(s.flag(), false, "")
			continue
		}
		flags.String(s.flag(), "", "")
	}
}

// reader gathers settings from flags, environment, file and defaults.
type reader struct {
	viper *viper.Viper
	flags *pflag.FlagSet
	path  string
	env   func(string) string
}

// readSettings returns the settings with their defaults filled in, where each
// comes from by its key, and everything that is wrong with their types, their
// names and the file. The environment is read through env to say where a value
// comes from, and by viper itself.
func readSettings(dir string, flags *pflag.FlagSet, env func(string) string) (Settings, map[string]string, []string) {
	// No key may be split at a dot.
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	r := &reader{viper: v, flags: flags, path: filepath.Join(dir, SettingsFile), env: env}
	for _, s := range settings {
		v.SetDefault(s.key, s.def)
		// Both fail only without a name or a flag.
		_ = v.BindEnv(s.key, s.env())
		_ = v.BindPFlag(s.key, flags.Lookup(s.flag()))
	}
	faults := r.readFile()
	sources := map[string]string{}
	for _, s := range settings {
		sources[s.key] = r.source(s)
	}
	var out Settings
	faults = append(faults, r.decode(&out, sources)...)
	if v.InConfig("name") {
		faults = append(faults, r.path+": name cannot be set here, where it may be copied to another server: use --name or GULM_NAME")
	}
	out.fill()
	return out, sources, faults
}

// readFile reads the settings file, if there is one.
func (r *reader) readFile() []string {
	r.viper.SetConfigFile(r.path)
	r.viper.SetConfigType("toml")
	err := r.viper.ReadInConfig()
	var at interface{ Position() (row, column int) }
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &at):
		row, _ := at.Position()
		return []string{fmt.Sprintf("%s:%d: %v", r.path, row, err)}
	}
	return []string{fmt.Sprintf("%s: %v", r.path, err)}
}

// source says where the value of a setting comes from.
func (r *reader) source(s setting) string {
	switch {
	case r.flags.Changed(s.flag()):
		return "--" + s.flag()
	case r.env(s.env()) != "":
		return s.env()
	case r.viper.InConfig(s.key):
		return r.path
	}
	return "default"
}

// decode fills in out and returns a line for each key that is unknown or has a
// value of the wrong type.
func (r *reader) decode(out *Settings, sources map[string]string) []string {
	var faults []string
	err := r.viper.UnmarshalExact(out, viper.DecodeHook(strict))
	for _, e := range flatten(err) {
		var named interface {
			error
			Name() string
			Unwrap() error
		}
		switch {
		case errors.As(e, &named) && named.Name() != "":
			faults = append(faults, fmt.Sprintf("%s: %s: %v", sources[named.Name()], named.Name(), cause(named.Unwrap())))
		case len(r.unknown()) == 0:
			faults = append(faults, fmt.Sprintf("%s: %v", r.path, e))
		}
	}
	for _, key := range r.unknown() {
		faults = append(faults, fmt.Sprintf("%s: unknown key %q%s", r.path, key, suggestion(key)))
	}
	return faults
}

// unknown lists keys of the file that are no settings.
func (r *reader) unknown() []string {
	names := map[string]bool{}
	for _, key := range r.viper.AllKeys() {
		top, _, _ := strings.Cut(key, "\x00")
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.key == top }) {
			names[top] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// suggestion names the settings that a misspelt key may mean.
func suggestion(key string) string {
	squeeze := func(s string) string { return strings.NewReplacer("_", "", "-", "", ".", "").Replace(s) }
	for _, s := range settings {
		if squeeze(s.key) == squeeze(key) {
			return ": did you mean " + s.key + "?"
		}
	}
	var known []string
	for _, s := range settings[1:] {
		known = append(known, s.key)
	}
	return ": known are " + strings.Join(known, " ")
}

// flatten returns the single errors that err joins.
func flatten(err error) []error {
	var list interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		var out []error
		for _, e := range list.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// cause returns the innermost error: what strict has to say.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// strict turns text into the type that a setting needs and refuses values of
// other types, which would be guessed at otherwise: a bare 1 would be a
// nanosecond.
func strict(from, to reflect.Type, value any) (any, error) {
	text, isText := value.(string)
	switch {
	case from == to || to == reflect.TypeFor[Settings]():
		return value, nil
	case to == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if !isText || err != nil {
			return nil, fmt.Errorf("%s is no duration: write a number with its unit in quotes, as in %q", show(value), "1.5s")
		}
		return d, nil
	case to.Kind() == reflect.Bool:
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("%s must be true or false", show(value))
	}
	return nil, fmt.Errorf("%s must be text in quotes", show(value))
}

// show renders a value for a message or as TOML.
func show(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case time.Duration:
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(value)
}

// fill sets the durations that follow from heartbeat_timeout, as package replica
// would.
func (s *Settings) fill() {
	if s.ElectionTimeout == 0 {
		s.ElectionTimeout = max(replica.DefaultElectionTimeout, s.HeartbeatTimeout)
	}
	if s.RaftLease == 0 {
		s.RaftLease = min(replica.DefaultLeaderLease, s.HeartbeatTimeout) // raft's word
	}
}
