package ccs

import "strings"

// Redacted is what stands in the place of every secret that is shown.
const Redacted = "********"

// Secret is a value that is handed to a fence agent and shown to nobody. All
// fmt verbs, JSON and text encodings show [Redacted]; only Reveal returns the
// value. The zero value is the empty secret.
type Secret struct {
	// A pointer, because fmt does not call String on unexported fields of
	// foreign structs and would print a plain string found in one.
	value *string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Hand it to a fence agent, never to a log.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Equal tells whether both secrets have the same value.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String returns [Redacted].
func (Secret) String() string { return Redacted }

// GoString returns [Redacted].
func (Secret) GoString() string { return Redacted }

// MarshalText returns [Redacted]; it is what JSON and slog use.
func (Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// secretParts are the parts of a key's name that make its value a secret. They
// err on the side of hiding too much: fence agents of other vendors spell their
// password keys in many ways (passwd, snmp_priv_passwd, root_password ...).
var secretParts = []string{
	"passw", "pwd", "passphrase", "secret", "community", "token",
	"apikey", "api_key", "access_key", "private_key", "credential",
}

// secretTypos are keys whose misspellings are taken for secrets too, with the
// number of wrong letters up to which they are: a typo must not print a password.
var secretTypos = map[string]int{"pass": 0, "passwd": 1, "password": 2, "community": 2}

// openSuffixes end keys that contain a secret part but name a program or a
// place instead of holding the secret itself.
var openSuffixes = []string{"_script", "_file", "_path", "_name", "_timeout", "_url"}

// fileSuffix makes a key that names a file from a key that holds a secret.
const fileSuffix = "_file"

// isSecretKey tells whether the value of this agent parameter is a secret.
func isSecretKey(key string) bool {
	key = foldKey(key)
	for _, suffix := range openSuffixes {
		if strings.HasSuffix(key, suffix) {
			return false
		}
	}
	for _, part := range secretParts {
		if strings.Contains(key, part) {
			return true
		}
	}
	for name, typos := range secretTypos {
		if len(key) <= len(name)+typos && distance(key, name) <= typos {
			return true
		}
	}
	return false
}

// secretFileKey returns the key whose secret the file holds that this key
// names: "passwd" for "passwd_file". It returns "" for every other key.
func secretFileKey(key string) string {
	if !strings.HasSuffix(foldKey(key), fileSuffix) {
		return ""
	}
	base := key[:len(key)-len(fileSuffix)]
	if !isSecretKey(base) {
		return ""
	}
	return base
}

// keyAliases maps the old names of agent parameters to the new ones. Agents
// accept both, so both name the same thing when parameters are merged.
var keyAliases = map[string]string{
	"ipaddr": "ip", "login": "username", "passwd": "password",
	"port": "plug", "option": "action",
}

// foldKey makes the spellings alike between which agents do not distinguish.
func foldKey(key string) string {
	return strings.ReplaceAll(strings.ToLower(key), "-", "_")
}

// sameKey reduces a key to the name under which an agent knows it.
func sameKey(key string) string {
	key = foldKey(key)
	if name, ok := keyAliases[key]; ok {
		return name
	}
	return key
}
