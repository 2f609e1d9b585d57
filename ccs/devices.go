package ccs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Bounds of a device's timeout in seconds.
const (
	defTimeout = 60
	minTimeout = 0.1
	maxTimeout = 3600
)

// maxSecretFile is the size in bytes above which a file is no secret.
const maxSecretFile = 4096

// worldAccess are the permissions of everybody, which secrets must not have.
const worldAccess = 0o007

// readDevices reads the section fence_devices.
func (l *loader) readDevices(top *section) {
	before := seen{}
	for _, it := range top.items {
		if it.sec == nil {
			l.fault(top.file, it.line, fmt.Sprintf("%q is a value, but devices are sections", it.key),
				fmt.Sprintf(`write %s { agent = "fence_..." ... }`, it.key))
			continue
		}
		l.checkName(top.file, "fence device", it.key, it.line, maxFenceName)
		d := l.readDevice(it.sec)
		if l.unique(before, top.file, "fence device", it.key, it.line) {
			l.cfg.Devices = append(l.cfg.Devices, d)
		}
	}
}

// readDevice reads one device.
func (l *loader) readDevice(s *section) Device {
	d := Device{Name: s.name, line: s.line, Timeout: defTimeout * time.Second}
	found := false
	keys := make([]string, 0, len(s.items))
	for _, it := range s.items {
		keys = append(keys, it.key)
		switch it.key {
		case "timeout":
			l.readTimeout(s, it, &d.Timeout)
		case "agent":
			found = true
			d.Agent = l.readAgent(s, it)
		case "proves":
			l.readProves(s, it, &d)
		}
	}
	if !d.provesSet {
		d.Power = provesPower(d.Agent)
	}
	if !found {
		cure := `write agent = "fence_ipmilan", or whichever fits it`
		if near := suggest("agent", keys); near != "" {
			cure = fmt.Sprintf("did you mean agent by %q?", near)
		}
		l.fault(s.file, s.line, fmt.Sprintf("the fence device %q has no agent", s.name), cure)
	}
	d.Params = l.readParams(s)
	return d
}

// readAgent reads the name of a program; it need not be installed here.
func (l *loader) readAgent(s *section, it item) string {
	if it.sec != nil {
		l.fault(s.file, it.line, `"agent" is a value, not a section`, `write agent = "fence_..."`)
		return ""
	}
	agent, ok := l.str(s, it)
	if !ok {
		return ""
	}
	switch {
	case strings.TrimSpace(agent) == "":
		l.fault(s.file, it.line, fmt.Sprintf("the agent of fence device %q is empty", s.name), `write agent = "fence_ipmilan", or whichever fits it`)
	case strings.ContainsAny(agent, " \t\r\n"):
		l.fault(s.file, it.line, fmt.Sprintf("the agent of fence device %q holds white space", s.name),
			"write only the program's name; agents get parameters, no arguments")
	case strings.Contains(agent, "/") && !filepath.IsAbs(agent):
		l.fault(s.file, it.line, fmt.Sprintf("the agent %q is a relative path", agent), "write a bare name or an absolute path")
	}
	return agent
}

// readTimeout reads the key timeout of a device or of one use of it.
func (l *loader) readTimeout(s *section, it item, to *time.Duration) {
	if it.sec != nil {
		l.fault(s.file, it.line, `"timeout" is a value, not a section`, "write timeout = 60")
		return
	}
	if d, ok := l.duration(s, it, minTimeout, maxTimeout); ok {
		*to = d
	}
}

// readParams reads the parameters for an agent: every key but agent, timeout and
// proves. Agents know their keys themselves, so none is unknown here.
func (l *loader) readParams(s *section) []Param {
	var params []Param
	before := make(map[string]item, len(s.items))
	for _, it := range s.items {
		name := it.key
		if base := secretFileKey(it.key); base != "" {
			name = base
		}
		if was, again := before[sameKey(name)]; again {
			text := fmt.Sprintf("%q is set twice, first on line %d", it.key, was.line)
			if was.key != it.key {
				text = fmt.Sprintf("%q sets the same as %q on line %d", it.key, was.key, was.line)
			}
			l.fault(s.file, it.line, text, "remove one of them")
			continue
		}
		before[sameKey(name)] = it
		if it.key == "agent" || it.key == "timeout" || it.key == "proves" {
			continue
		}
		if p, ok := l.readParam(s, it); ok {
			params = append(params, p)
		}
	}
	return params
}

// readParam reads one parameter; ok is false after a fault.
func (l *loader) readParam(s *section, it item) (p Param, ok bool) {
	hidden := isSecretKey(it.key)
	switch {
	case it.sec != nil:
		l.fault(s.file, it.line, fmt.Sprintf("the parameter %q of %q is a section", it.key, s.name), fmt.Sprintf("write %s = ...", it.key))
		return p, false
	case it.val.kind == kindArray:
		l.wrongType(s, it, "one value", `write several values as one string, such as "1,2"`)
		return p, false
	case hidden && it.val.kind != kindString:
		// 0123 would be sent as 83: a number is not what its owner typed.
		l.wrongType(s, it, "a string", "put it in 'single quotes'")
		return p, false
	case it.val.kind == kindString && strings.ContainsAny(it.val.text, "\r\n"):
		l.fault(s.file, it.line, fmt.Sprintf("the value of %q has several lines", it.key), "agents take one line; remove the line ends")
		return p, false
	}
	if base := secretFileKey(it.key); base != "" {
		text, ok := l.readSecretFile(s, it)
		return Param{Key: base, Hidden: true, Secret: NewSecret(text)}, ok
	}
	if hidden {
		if _, again := l.plainSecrets[s.file]; !again {
			l.plainSecrets[s.file] = it.line
		}
		return Param{Key: it.key, Hidden: true, Secret: NewSecret(it.val.text)}, true
	}
	return Param{Key: it.key, Value: paramText(it.val)}, true
}

// paramText renders a value for an agent: strings as they are, integers in
// decimal, fractions as written.
func paramText(v value) string {
	if v.kind == kindInt {
		return fmt.Sprint(v.num)
	}
	return v.text
}

// readSecretFile reads the secret whose file a key names.
func (l *loader) readSecretFile(s *section, it item) (secret string, ok bool) {
	if it.val.kind != kindString || it.val.text == "" {
		l.wrongType(s, it, "the path of a file", fmt.Sprintf(`write %s = "secrets/pdu"`, it.key))
		return "", false
	}
	path := it.val.text
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.dir, path)
	}
	secret, cure, err := secretFromFile(path)
	if err != nil {
		l.fault(s.file, it.line, fmt.Sprintf("the secret of %q: %v", it.key, err), cure)
		return "", false
	}
	return secret, true
}

// secretFromFile reads a secret without the line end behind it. Its errors
// name the file and never quote it.
func secretFromFile(path string) (secret, cure string, err error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	if err != nil {
		return "", "create it with mode 0600, or correct the path", err
	}
	if !info.Mode().IsRegular() {
		return "", "name an ordinary file", fmt.Errorf("%s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&worldAccess != 0 {
		return "", "run: chmod 600 " + path, fmt.Errorf("%s is open to everybody (mode %04o)", path, mode)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", "let the user that runs this program read it", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", "let the user that runs this program read it", err
	}
	if err := checkSecret(data); err != nil {
		return "", "put the secret alone on the first line", fmt.Errorf("%s %w", path, err)
	}
	return trimLineEnd(string(data)), "", nil
}

func trimLineEnd(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
}

// checkSecret refuses files that hold something else than one line.
func checkSecret(data []byte) error {
	text := trimLineEnd(string(data))
	switch {
	case len(data) > maxSecretFile:
		return fmt.Errorf("has more than %d bytes", maxSecretFile)
	case text == "":
		return errors.New("is empty")
	case strings.ContainsAny(text, "\r\n\x00"):
		return errors.New("has several lines")
	}
	return nil
}
