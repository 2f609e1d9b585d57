package ccs

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Setting is one value on which all servers must agree.
type Setting struct {
	// Key is a path such as "cluster/lock_gulm/heartbeat_rate".
	Key string
	// Value is as in the files; a secret is shown as a short hash.
	Value string
}

// Digest is the SHA-256, in hexadecimal, of everything that must be the same
// on all servers: what [Config.Settings] lists, with defaults filled in.
// Comments, white space, the order of nodes, devices and parameters, and the
// way a secret is given do not enter; secrets enter as salted hashes.
func (c *Config) Digest() string { return c.digest }

// Settings lists everything that must be the same on all servers. Secrets
// appear as "secret:" and 16 bits of a salted slow hash: enough to see that
// two differ, too little to guess one.
func (c *Config) Settings() []Setting { return slices.Clone(c.settings) }

// Diff compares the settings of two servers and returns one line for each key
// that differs, sorted, beginning with the key.
func Diff(a, b []Setting) []string {
	const missing = "not set"
	values := map[string][2]string{}
	for _, s := range a {
		values[s.Key] = [2]string{s.Value, missing}
	}
	for _, s := range b {
		pair, ok := values[s.Key]
		if !ok {
			pair[0] = missing
		}
		pair[1] = s.Value
		values[s.Key] = pair
	}
	var lines []string
	for key, pair := range values {
		if pair[0] != pair[1] {
			lines = append(lines, fmt.Sprintf("%s: %s against %s", key, pair[0], pair[1]))
		}
	}
	slices.Sort(lines)
	return lines
}

// agreement collects settings and hashes them.
type agreement struct {
	salt   []byte
	hashes map[string]string // by secret: deriving one takes a millisecond
	shown  []Setting
	hashed strings.Builder
}

// agree computes the settings and the digest of a finished configuration.
func (c *Config) agree() {
	a := &agreement{
		salt:   []byte("lock_gulmd cluster configuration: " + c.Name),
		hashes: map[string]string{},
	}
	a.add("cluster/name", quote(c.Name))
	c.agreeLock(a)
	nodes := slices.Clone(c.Nodes)
	slices.SortFunc(nodes, func(x, y Node) int { return strings.Compare(x.Name, y.Name) })
	for i := range nodes {
		c.agreeNode(a, &nodes[i])
	}
	devices := slices.Clone(c.Devices)
	slices.SortFunc(devices, func(x, y Device) int { return strings.Compare(x.Name, y.Name) })
	for _, d := range devices {
		path := "fence_devices/" + d.Name
		a.add(path+"/agent", quote(d.Agent))
		a.add(path+"/timeout", secondsValue(d.Timeout).text)
		a.add(path+"/proves", quote(d.proves()))
		a.params(path, d.Params)
	}
	sum := sha256.Sum256([]byte(a.hashed.String()))
	c.settings, c.digest = a.shown, hex.EncodeToString(sum[:])
}

func (c *Config) agreeLock(a *agreement) {
	const path = "cluster/lock_gulm/"
	a.add(path+"servers", serversValue(c.Lock.Servers).String())
	a.add(path+"durability", quote(c.Lock.Durability))
	for _, s := range lockSettings {
		a.add(path+s.key, s.value(&c.Lock).text)
	}
	for _, s := range switchSettings {
		a.add(path+s.key, quote(yesNo(*s.to(&c.Lock))))
	}
}

func (c *Config) agreeNode(a *agreement, n *Node) {
	path := "nodes/" + n.Name
	a.add(path+"/address", quote(n.Addr.String()))
	for _, face := range n.Interfaces {
		a.add(path+"/ip_interfaces/"+face.Name, quote(face.Addr.String()))
	}
	if c.IsServer(n.Name) {
		core, raft := c.ports(n)
		a.add(path+"/core_port", strconv.Itoa(core))
		a.add(path+"/raft_port", strconv.Itoa(raft))
	}
	for i, m := range n.Methods {
		for j, use := range m.Uses {
			step := fmt.Sprintf("%s/fence/%d:%s/%d", path, i+1, m.Name, j+1)
			a.add(step, use.Device)
			if use.Timeout != 0 {
				a.add(step+"/timeout", secondsValue(use.Timeout).text)
			}
			a.params(step, use.Params)
		}
	}
}

// add takes in a setting that is no secret.
func (a *agreement) add(key, value string) {
	a.shown = append(a.shown, Setting{Key: key, Value: value})
	fmt.Fprintf(&a.hashed, "%q=%q\n", key, value)
}

// params takes in the parameters of one device or use, in any order.
func (a *agreement) params(path string, params []Param) {
	params = slices.Clone(params)
	slices.SortFunc(params, func(x, y Param) int { return strings.Compare(x.Key, y.Key) })
	for _, p := range params {
		key := path + "/" + p.Key
		if !p.Hidden {
			a.add(key, quote(p.Value))
			continue
		}
		hash := a.hash(p.Secret)
		a.shown = append(a.shown, Setting{Key: key, Value: "secret:" + hash[:4]})
		fmt.Fprintf(&a.hashed, "%q=secret %q\n", key, hash)
	}
}

// hash derives a salted hash of a secret slowly enough that guessing through
// a word list takes its time.
func (a *agreement) hash(s Secret) string {
	const rounds = 4096
	if hash, ok := a.hashes[s.Reveal()]; ok {
		return hash
	}
	key, err := pbkdf2.Key(sha256.New, s.Reveal(), a.salt, rounds, sha256.Size)
	if err != nil {
		panic("ccs: hashing a secret: " + err.Error())
	}
	hash := hex.EncodeToString(key)
	a.hashes[s.Reveal()] = hash
	return hash
}
