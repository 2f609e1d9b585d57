package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"lock_gulmd/ccs"
)

const examples = "../../../deploy/examples"

// read returns the settings of a folder, with no options and a clean environment.
func read(t *testing.T, dir string) (Settings, map[string]string) {
	t.Helper()
	for _, s := range settings {
		t.Setenv(s.env(), "")
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	addFlags(flags)
	out, sources, faults := readSettings(dir, flags, os.Getenv)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return out, sources
}

// TestSample: the sample file shows every setting with its default.
func TestSample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(examples, SettingsFile))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	var active strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^# (([a-z_]+) = .*)$`).FindAllStringSubmatch(string(text), -1) {
		keys = append(keys, m[2])
		active.WriteString(m[1] + "\n")
	}
	var want []string
	for _, s := range settings[1:] { // the name cannot be in the file
		want = append(want, s.key)
	}
	slices.Sort(keys)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		t.Errorf("the sample has the keys\n%v, the daemon\n%v", keys, want)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SettingsFile), []byte(active.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	shown, sources := read(t, dir)
	defaults, _ := read(t, t.TempDir())
	if shown != defaults {
		t.Errorf("the sample shows\n%+v, the defaults are\n%+v", shown, defaults)
	}
	for _, key := range want {
		if sources[key] != filepath.Join(dir, SettingsFile) {
			t.Errorf("%s comes from %q", key, sources[key])
		}
	}
}

// TestSample_asItIs: with everything commented out it changes nothing.
func TestSample_asItIs(t *testing.T) {
	sample, sources := read(t, examples)
	defaults, _ := read(t, t.TempDir())
	if sample != defaults {
		t.Errorf("%+v, want %+v", sample, defaults)
	}
	for key, source := range sources {
		if source != "default" {
			t.Errorf("%s comes from %q", key, source)
		}
	}
}

// TestSettingsTable: the table has every field of the struct, and get is right.
func TestSettingsTable(t *testing.T) {
	typ := reflect.TypeFor[Settings]()
	if typ.NumField() != len(settings) {
		t.Errorf("%d fields, %d keys", typ.NumField(), len(settings))
	}
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("mapstructure")
		at := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if at < 0 {
			t.Errorf("%s: no key %q", typ.Field(i).Name, key)
			continue
		}
		var s Settings
		field := reflect.ValueOf(&s).Elem().Field(i)
		value := reflect.ValueOf(settings[at].def)
		switch field.Kind() {
		case reflect.String:
			value = reflect.ValueOf("other")
		case reflect.Bool:
			value = reflect.ValueOf(true)
		}
		if value.Type() != field.Type() {
			t.Errorf("%s: default of type %v, want %v", key, value.Type(), field.Type())
			continue
		}
		field.Set(value)
		if got := settings[at].get(&s); got != value.Interface() {
			t.Errorf("%s: get returns %v, want %v", key, got, value)
		}
		if !strings.Contains(usage, "--"+settings[at].flag()) {
			t.Errorf("--help does not name --%s", settings[at].flag())
		}
	}
}

func TestWhoAmI(t *testing.T) {
	cluster, err := ccs.Load(filepath.Join(examples, "three"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		given, host string
		want        string // name, or part of the error
	}{
		{"lk2", "lk1", "lk2"},
		{"", "lk3", "lk3"},
		{"", "lk3.example.com", "lk3"},
		{"lk3.example.com", "lk1", "knows no"},
		{"", "fs01.example.com", `"fs01" is a node`},
		{"", "elsewhere.example.com", `knows no "elsewhere.example.com"`},
		{"", "", "not known"},
	}
	for _, test := range tests {
		self, _, err := whoAmI(cluster, test.given, "--name", func() (string, error) {
			if test.host == "" {
				return "", errors.New("no host name")
			}
			return test.host, nil
		})
		got := self.Name
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) || (err == nil) != (got == test.want) {
			t.Errorf("name %q on host %q: %q, want %q", test.given, test.host, got, test.want)
		}
	}
}

// TestWhoAmI_fullName: a server may be known by its full name, which comes first.
func TestWhoAmI_fullName(t *testing.T) {
	const device = `fence { m { d { } } } } `
	cluster, err := ccs.Parse(ccs.Source{
		Cluster: []byte(`cluster { name = "x" lock_gulm { servers = ["a", "a.example.com", "b"] } }`),
		Nodes: []byte(`nodes { a { ip_interfaces { lo = "127.0.0.1" } ` + device +
			`a.example.com { ip_interfaces { lo = "127.0.0.2" } ` + device +
			`b { ip_interfaces { lo = "127.0.0.3" } ` + device + `}`),
		Fence: []byte(`fence_devices { d { agent = "fence_manual" } }`),
	})
	if err != nil {
		t.Fatal(err)
	}
	self, source, err := whoAmI(cluster, "", "", func() (string, error) { return "a.example.com", nil })
	if err != nil || self.Name != "a.example.com" || source != "the host's name" {
		t.Errorf("%q from %q, %v", self.Name, source, err)
	}
}

// TestCreatable looks at folders and makes none.
func TestCreatable(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	if err := creatable(deep); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "closed"), 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := creatable(filepath.Join(dir, "closed", "x")); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a folder that may not be written: %v", err)
		}
	}
}
