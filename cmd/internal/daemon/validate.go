package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/server/replica"
)

// Bounds of the durations between servers.
const (
	minTimeout = 50 * time.Millisecond
	maxTimeout = time.Minute
)

// levels are the words for log_level.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// validate returns everything that is wrong with the values, one line each.
func (s *Settings) validate() []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if _, ok := levels[s.LogLevel]; !ok {
		bad("log_level = %q: choose debug, info, warn or error", s.LogLevel)
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		bad("log_format = %q: choose text or json", s.LogFormat)
	}
	if s.LogStore != replica.LogStoreWAL && s.LogStore != replica.LogStoreBolt {
		bad("log_store = %q: choose %s or %s", s.LogStore, replica.LogStoreWAL, replica.LogStoreBolt)
	}
	for _, dir := range filepath.SplitList(s.AgentPath) {
		if !filepath.IsAbs(dir) {
			bad("agent_path: %q is no absolute folder: fence agents are run from fixed places only", dir)
		}
	}
	if s.AgentPath == "" {
		bad("agent_path is empty: list the folders of the fence agents, or leave it out for %s", defaultAgentPath)
	}
	if err := creatable(s.DataDir); err != nil {
		bad("data_dir: %v", err)
	}
	faults = append(faults, s.validateTimes()...)
	return append(faults, s.validateTLS()...)
}

func (s *Settings) validateTimes() []string {
	var faults []string
	for _, d := range []struct {
		key string
		v   time.Duration
	}{
		{"heartbeat_timeout", s.HeartbeatTimeout}, {"election_timeout", s.ElectionTimeout}, {"leader_lease", s.RaftLease}, // raft's words
	} {
		if d.v < minTimeout || d.v > maxTimeout {
			faults = append(faults, fmt.Sprintf("%s = %q: choose %v to %v", d.key, d.v, minTimeout, maxTimeout))
		}
	}
	if s.ElectionTimeout < s.HeartbeatTimeout {
		faults = append(faults, fmt.Sprintf("election_timeout = %q is shorter than heartbeat_timeout = %q: make it as long at least", s.ElectionTimeout, s.HeartbeatTimeout))
	}
	if s.RaftLease > s.HeartbeatTimeout { // raft's word
		faults = append(faults, fmt.Sprintf("leader_lease = %q is longer than heartbeat_timeout = %q: make it as short at least (raft needs it)", s.RaftLease, s.HeartbeatTimeout))
	}
	return faults
}

func (s *Settings) validateTLS() []string {
	var faults []string
	for _, f := range []struct{ key, path string }{{"tls_cert", s.TLSCert}, {"tls_key", s.TLSKey}, {"tls_ca", s.TLSCA}} {
		switch {
		case s.Development && f.path != "":
			faults = append(faults, fmt.Sprintf("%s = %q: development mode uses no certificates: remove one of the two", f.key, f.path))
		case !s.Development && f.path == "":
			faults = append(faults, fmt.Sprintf("%s is not set: name the file; or, to try things out on loopback addresses only, use --development", f.key))
		}
	}
	return faults
}

// listenFaults fills in where to listen from the server's entry in nodes.ccs and
// returns what is wrong with the addresses.
func (s *Settings) listenFaults(cluster *ccs.Config, self ccs.Server) []string {
	var faults []string
	if s.CoreListen == "" {
		s.CoreListen = self.CoreAddr
	}
	if s.RaftListen == "" {
		s.RaftListen = self.RaftAddr
	}
	for _, l := range []struct{ key, addr string }{{"core_listen", s.CoreListen}, {"raft_listen", s.RaftListen}} {
		loopback, err := checkAddress(l.addr)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("%s: %v", l.key, err))
		case s.Development && !loopback:
			faults = append(faults, fmt.Sprintf("%s = %q is no loopback address: development mode believes everybody who can connect; "+
				"use an address such as 127.0.0.1, or certificates", l.key, l.addr))
		}
	}
	if s.CoreListen == s.RaftListen {
		faults = append(faults, fmt.Sprintf("core_listen and raft_listen are both %q: give them different ports", s.CoreListen))
	}
	if !s.Development {
		return faults
	}
	for _, server := range cluster.Servers() {
		if addr, err := netip.ParseAddr(server.Addr); err != nil || !addr.IsLoopback() {
			faults = append(faults, fmt.Sprintf("server %s has the address %s in %s, which is no loopback address: "+
				"development mode is for clusters on one machine; set tls_cert, tls_key and tls_ca instead", server.Name, server.Addr, ccs.NodesFile))
		}
	}
	return faults
}

// checkAddress checks "ADDRESS:PORT" and tells whether only this machine can
// reach it.
func checkAddress(text string) (loopback bool, err error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return false, fmt.Errorf("%q is not ADDRESS:PORT, as in 0.0.0.0:40040", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false, fmt.Errorf("%q has no port from 1 to 65535", text)
	}
	if host == "" {
		return false, nil // all addresses
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false, fmt.Errorf("%q must begin with an IP address (0.0.0.0 or [::] for all)", text)
	}
	return addr.IsLoopback(), nil
}

// creatable tells whether dir can be used or made, without making it.
func creatable(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%q must be an absolute path", dir)
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != "/":
			continue
		case err != nil:
			return fmt.Errorf("%q cannot be used: %w", dir, err)
		case !info.IsDir():
			return fmt.Errorf("%q cannot be used: %s is no folder", dir, at)
		}
		const writeAndSearch = 2 | 1
		if err := syscall.Access(at, writeAndSearch); err != nil {
			return fmt.Errorf("%q cannot be used: this user may not write to %s (%w): let it own the folder, or choose another", dir, at, err)
		}
		return nil
	}
}

// whoAmI finds this server: by the given name, or by the host's, first in full,
// then up to its first dot. An empty source means the host's name.
func whoAmI(cluster *ccs.Config, given, source string, hostname func() (string, error)) (ccs.Server, string, error) {
	if given != "" {
		self, err := findServer(cluster, given)
		if err != nil {
			return ccs.Server{}, "", fmt.Errorf("%w (the name comes from %s)", err, source)
		}
		return self, source, nil
	}
	host, err := hostname()
	if err != nil {
		return ccs.Server{}, "", fmt.Errorf("the host's name is not known (%w): give the server's name with --name", err)
	}
	const fromHost = "the host's name"
	short, _, _ := strings.Cut(host, ".")
	for _, name := range []string{host, short} {
		if self, err := findServer(cluster, name); err == nil {
			return self, fromHost, nil
		}
	}
	name := host
	if _, ok := cluster.Node(short); ok {
		name = short
	}
	_, err = findServer(cluster, name)
	return ccs.Server{}, "", fmt.Errorf("%w (the name comes from the host)", err)
}

func findServer(cluster *ccs.Config, name string) (ccs.Server, error) {
	servers := cluster.Servers()
	if i := slices.IndexFunc(servers, func(s ccs.Server) bool { return s.Name == name }); i >= 0 {
		return servers[i], nil
	}
	all := strings.Join(cluster.Lock.Servers, ", ")
	if _, ok := cluster.Node(name); ok {
		return ccs.Server{}, fmt.Errorf("%q is a node of cluster %q, but none of its lock servers (%s): nodes need no lock_gulmd; "+
			"start it on a server, or add the name to servers in %s on all servers", name, cluster.Name, all, ccs.ClusterFile)
	}
	for _, s := range servers {
		if strings.EqualFold(s.Name, name) {
			return ccs.Server{}, fmt.Errorf("%q differs from server %q in case: write it in the same way", name, s.Name)
		}
	}
	return ccs.Server{}, fmt.Errorf("cluster %q knows no %q, its lock servers are %s: start lock_gulmd on one of these, give the server's name with --name, "+
		"or add this machine to %s and %s", cluster.Name, name, all, ccs.NodesFile, ccs.ClusterFile)
}
