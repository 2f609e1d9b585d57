package tool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"lock_gulmd/ccs"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// DefaultPort is where lock servers serve nodes and tools unless configured
// otherwise.
const DefaultPort = 40040

// maxServers is how many servers are learned at most, whatever one claims.
const maxServers = 16

// Server is a lock server as a command knows it.
type Server struct {
	// Name is its name, empty while it is not known.
	Name string
	// Address is host:port.
	Address string
}

// String returns the name, or the address while there is none.
func (s Server) String() string {
	if s.Name == "" {
		return s.Address
	}
	return s.Name
}

// Cluster is the way to the lock servers. It is not for several goroutines but
// where a method says so.
type Cluster struct {
	// Name is the cluster's, empty if neither the configuration nor the
	// certificate says it.
	Name string
	// Servers are those to ask. They begin with those named by hand, or else are
	// those of the configuration in rank order.
	Servers []Server

	env        *Env
	config     *ccs.Config // nil if there is none
	credential *credential // nil for plain text
	learns     bool        // servers named by hand tell of others
}

// Cluster finds out which servers to ask: hosts, else --server, else those of
// the configuration. The configuration may be missing if servers are named by
// hand. Errors wrap gulmerr.ErrBadConfig or gulmerr.ErrInvalid: nothing was tried.
func (e *Env) Cluster(hosts ...string) (*Cluster, error) {
	if len(hosts) == 0 {
		hosts = e.Hosts
	}
	c := &Cluster{env: e, learns: len(hosts) > 0}
	var err error
	if c.config, err = e.loadConfig(c.learns); err != nil {
		return nil, err
	}
	if c.config != nil {
		c.Name = c.config.Name
	}
	if c.credential, err = e.loadCredential(c.Name); err != nil {
		return nil, err
	}
	if c.credential != nil {
		c.Name = c.credential.cluster
	}
	if !c.learns {
		c.Servers = c.configured()
	}
	for _, host := range hosts {
		s, err := c.server(host)
		if err != nil {
			return nil, err
		}
		c.Servers = append(c.Servers, s)
	}
	for _, s := range c.Servers {
		if err := c.mayAsk(s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// loadConfig returns the configuration, or nil if there is none and servers are
// named by hand.
func (e *Env) loadConfig(byHand bool) (*ccs.Config, error) {
	dir, source, err := ccs.Find(e.Config)
	if err != nil {
		if byHand && e.Config == "" && os.Getenv(ccs.EnvDir) == "" {
			return nil, nil
		}
		return nil, &Advised{
			gulmerr.New(gulmerr.ErrBadConfig, "%v", err),
			"name a folder as said above, or a lock server with --server HOST",
		}
	}
	config, err := ccs.Load(dir)
	var faults *ccs.Faults
	switch {
	case err == nil:
		return config, nil
	case byHand && source != "--config":
		// A faulty file must not keep an operator from asking a server.
		fmt.Fprintf(e.Stderr, "warning: going on without the configuration in %s: %v\n", dir, err)
		return nil, nil
	case errors.As(err, &faults):
		return nil, &Advised{gulmerr.New(gulmerr.ErrBadConfig, "%v", err), "mend the files, or name a lock server with --server HOST"}
	}
	return nil, err
}

// configured returns the servers of the configuration in rank order.
func (c *Cluster) configured() []Server {
	if c.config == nil {
		return nil
	}
	var list []Server
	for _, s := range c.config.Servers() {
		list = append(list, Server{s.Name, s.CoreAddr})
	}
	return list
}

// server reads HOST[:PORT] or the name of a configured server.
func (c *Cluster) server(host string) (Server, error) {
	configured := c.configured()
	for _, s := range configured {
		if s.Name == host {
			return s, nil
		}
	}
	address, err := c.address(host)
	if err != nil {
		return Server{}, err
	}
	for _, s := range configured {
		h, _, _ := net.SplitHostPort(s.Address)
		if s.Address == address || h == host {
			return s, nil
		}
	}
	return Server{Address: address}, nil
}

// address completes a HOST with the port that servers listen on.
func (c *Cluster) address(host string) (string, error) {
	port := DefaultPort
	if c.config != nil {
		port = c.config.Lock.CorePort
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil || !strings.Contains(host, ":") && host != "" {
		return net.JoinHostPort(bare, strconv.Itoa(port)), nil
	}
	name, number, err := net.SplitHostPort(host)
	if n, notNumber := strconv.ParseUint(number, 10, 16); err != nil || notNumber != nil || n == 0 || name == "" {
		return "", Usage("%q is no lock server: want HOST, HOST:PORT or the name of a configured server", host)
	}
	return host, nil
}

// mayAsk refuses plain text to other machines.
func (c *Cluster) mayAsk(s Server) error {
	if c.credential != nil || isLoopback(s.Address) {
		return nil
	}
	if names := c.unknownName(s); names != "" {
		return &Advised{
			gulmerr.New(gulmerr.ErrInvalid, "%s is no lock server of the configuration, which has %s, and plain text is for loopback addresses only", s.Address, names),
			fmt.Sprintf("name one of these; for a server of another cluster give --tls-cert, --tls-key and --tls-ca (or %s, %s and %s)", EnvCert, EnvKey, EnvCA),
		}
	}
	return &Advised{
		gulmerr.New(gulmerr.ErrInvalid, "lock server %v is on another machine, and plain text is for loopback addresses only", s.described()),
		fmt.Sprintf("give --tls-cert, --tls-key and --tls-ca (or %s, %s and %s)", EnvCert, EnvKey, EnvCA),
	}
}

// unknownName returns the names of the configured servers if s was named by hand
// with a name that is none of them, "" otherwise.
func (c *Cluster) unknownName(s Server) string {
	host, _, _ := net.SplitHostPort(s.Address)
	if _, err := netip.ParseAddr(host); err == nil || s.Name != "" {
		return ""
	}
	var names []string
	for _, known := range c.configured() {
		names = append(names, known.Name)
	}
	return strings.Join(names, ", ")
}

// described returns name and address.
func (s Server) described() string {
	if s.Name == "" {
		return s.Address
	}
	return s.Name + " at " + s.Address
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Learn notes what a server said of itself and of the others, and tells whether
// there is anybody new to ask. Only servers that were named by hand are asked
// about others: else the configuration says which there are.
func (c *Cluster) Learn(asked Server, name string, others []*gulmv1.ServerAddress) bool {
	for i := range c.Servers {
		if c.Servers[i] == asked && asked.Name == "" {
			c.Servers[i].Name = name
		}
	}
	if !c.learns {
		return false
	}
	fresh := false
	for _, o := range others {
		known := slices.ContainsFunc(c.Servers, func(s Server) bool {
			return s.Name == o.GetName() || s.Address == o.GetAddress()
		})
		if !known && len(c.Servers) < maxServers {
			c.Servers = append(c.Servers, Server{o.GetName(), o.GetAddress()})
			fresh = true
		}
	}
	return fresh
}
