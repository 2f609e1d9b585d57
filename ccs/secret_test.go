package ccs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreNeverShown renders a configuration in every way there is.
func TestSecretsAreNeverShown(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("geheim-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := Source{
		Dir: dir, Cluster: []byte(base[ClusterFile]), Nodes: []byte(base[NodesFile]),
		Fence: []byte(strings.Replace(base[FenceFile], `passwd = "geheim-pdu"`,
			`passwd_file = "pw" snmp_priv_passwd = "geheim-snmp" community = 'geheim-com' root-password = "geheim-root"
			 password_script = "/etc/gulm/ask"`, 1)),
	}
	cfg, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	pdu, _ := cfg.Device("pdu")
	var revealed []string
	for _, p := range pdu.Params {
		revealed = append(revealed, p.Key+"="+p.text())
	}
	want := "ipaddr=10.9.1.1 login=gulm passwd=geheim-file snmp_priv_passwd=geheim-snmp community=geheim-com root-password=geheim-root password_script=/etc/gulm/ask"
	if got := strings.Join(revealed, " "); got != want {
		t.Errorf("the parameters are %s, want %s", got, want)
	}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{
		"Print":    printed(t, cfg),
		"Settings": fmt.Sprint(cfg.Settings()),
		"Digest":   cfg.Digest(),
		"Warnings": fmt.Sprint(cfg.Warnings()),
		"json":     string(encoded),
	}
	secret := NewSecret("geheim-direct")
	hidden := struct{ s Secret }{secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown["config "+verb] = fmt.Sprintf(verb, cfg)
		shown["value "+verb] = fmt.Sprintf(verb, *cfg)
		shown["devices "+verb] = fmt.Sprintf(verb, cfg.Devices)
		shown["secret "+verb] = fmt.Sprintf(verb, secret)
		shown["unexported "+verb] = fmt.Sprintf(verb, hidden)
	}
	hex := fmt.Sprintf("%x", "geheim")
	for how, text := range shown {
		if strings.Contains(text, "geheim") || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s shows a secret: %s", how, text)
		}
	}
	if !strings.Contains(shown["Print"], `passwd = "********"`) {
		t.Error("Print does not show that there is a password")
	}
}

func TestSecretKeys(t *testing.T) {
	for key, want := range map[string]bool{
		"passwd": true, "password": true, "Password": true, "snmp_priv_passwd": true, "snmp-auth-passwd": true,
		"community": true, "secret_key": true, "apikey": true, "token": true, "passphrase": true, "access_key": true,
		"pasword": true, "pass": true, "pssword": true, "comunity": true, "paswd": true,
		"passive": false, "path": false, "comment": false, "plug_separator": false,
		"passwd_file": false, "password_script": false, "identity_file": false, "login": false,
		"ipaddr": false, "port": false, "plug": false, "auth": false, "key": false,
	} {
		if got := isSecretKey(key); got != want {
			t.Errorf("isSecretKey(%q) is %v", key, got)
		}
	}
	for key, want := range map[string]string{
		"passwd_file": "passwd", "password_file": "password", "snmp_priv_passwd_file": "snmp_priv_passwd",
		"community-file": "community", "identity_file": "", "passwd": "", "_file": "", "password_script": "",
	} {
		if got := secretFileKey(key); got != want {
			t.Errorf("secretFileKey(%q) is %q, want %q", key, got, want)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		fault         string // "" if it is accepted
	}{
		{"plain", "geheim", 0o600, ""},
		{"line end", "geheim\n", 0o640, ""},
		{"open to all", "geheim\n", 0o644, "is open to everybody (mode 0644); run: chmod 600 "},
		{"writable by all", "geheim\n", 0o602, "is open to everybody (mode 0602); run: chmod 600 "},
		{"empty", "", 0o600, "is empty; put the secret alone on the first line"},
		{"empty line", "\n", 0o600, "is empty; put the secret alone on the first line"},
		{"two lines", "geheim\nport=5\n", 0o600, "has several lines; put the secret alone on the first line"},
		{"large", strings.Repeat("geheim", 1000), 0o600, "has more than 4096 bytes; put the secret alone on the first line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pw")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			cfg, err := parseBase(t, `passwd = "geheim-pdu"`, `passwd_file = "`+path+`"`)
			if c.fault == "" {
				if err != nil {
					t.Fatal(err)
				}
				pdu, _ := cfg.Device("pdu")
				last := pdu.Params[len(pdu.Params)-1]
				if last.Key != "passwd" || last.Secret.Reveal() != "geheim" {
					t.Errorf("the file was not read as the password")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Fatalf("got %v, want a fault with %q", err, c.fault)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	t.Run("folder", func(t *testing.T) {
		_, err := parseBase(t, `passwd = "geheim-pdu"`, `passwd_file = "."`)
		if err == nil || !strings.Contains(err.Error(), "is not a file; name an ordinary file") {
			t.Errorf("got %v", err)
		}
	})
}

// TestSecretFileIsSameAsSecret proves that servers may keep a secret in
// different places and still agree.
func TestSecretFileIsSameAsSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(path, []byte("geheim-pdu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inFile := mustBase(t, `passwd = "geheim-pdu"`, `passwd_file = "`+path+`"`)
	if inFile.Digest() != mustBase(t).Digest() {
		t.Error("the digest depends on where the secret is kept")
	}
}

func TestOpenFileWithPasswordWarns(t *testing.T) {
	dir := t.TempDir()
	for file, text := range base {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	warned := func() string {
		cfg, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(cfg.Warnings())
	}
	if got := warned(); got != "[]" {
		t.Errorf("private files earn the warnings %s", got)
	}
	for _, file := range []string{FenceFile, NodesFile} {
		if err := os.Chmod(filepath.Join(dir, file), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := warned(); !strings.Contains(got, "run: chmod 640 "+file) {
			t.Errorf("an open %s earns %s", file, got)
		}
	}
}
