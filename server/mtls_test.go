package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/client"
	"lock_gulmd/server"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/replica"
)

// trio is three servers with certificates, on a network of their own.
type trio struct {
	t       *testing.T
	net     *gulmtest.Network
	ca      *authority
	config  *ccs.Config
	logs    *logBook
	servers map[string]*server.Server
}

func (c *trio) address(host string) string {
	for name, address := range map[string]string{"lk1": "127.0.1.1", "lk2": "127.0.1.2", "lk3": "127.0.1.3", "n1": "127.0.2.1"} {
		if address == host {
			return name
		}
	}
	return host
}

func (c *trio) dialer(host string) func(context.Context, string) (net.Conn, error) {
	dial := c.net.Host(host).Dialer()
	return func(ctx context.Context, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return dial(ctx, c.address(host)+":"+port)
	}
}

// tlsLayer is a stream layer with certificates on the simulated network.
type tlsLayer struct {
	net.Listener
	dial func(context.Context, string) (net.Conn, error)
	conf *tls.Config
}

// Dial implements replica.StreamLayer.
func (l tlsLayer) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := l.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	t := tls.Client(conn, l.conf)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return t, nil
}

// start starts a server with a certificate of the given name.
func (c *trio) start(name, certificate string) {
	c.t.Helper()
	core, err := c.net.Host(name).Listen(":40040")
	if err != nil {
		c.t.Fatal(err)
	}
	listener, err := c.net.Host(name).Listen(":40041")
	if err != nil {
		c.t.Fatal(err)
	}
	base := &tls.Config{Certificates: []tls.Certificate{c.ca.issue(time.Hour, certificate)}, RootCAs: c.ca.pool()}
	conf := server.TLSConfig(base)
	conf.InsecureSkipVerify = true // host names are no part of the identity; the server checks the rest
	s, err := server.Open(server.Options{
		Cluster: c.config, Name: name, Memory: replica.NewMemory(), Core: core, TLS: base, Dial: c.dialer(name),
		Raft:   tlsLayer{tls.NewListener(listener, conf), c.dialer(name), conf},
		Fencer: gulmtest.NewPowerSwitch(c.net, gulmtest.NewDisk(1), func(string) uint64 { return 1 }), Log: slog.New(c.logs).With("host", name),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.servers[name] = s
}

func (c *trio) close() {
	for _, s := range c.servers {
		_ = s.Close(context.Background())
	}
	c.net.Close()
}

func withTrio(t *testing.T, test func(t *testing.T, c *trio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &trio{t: t, net: gulmtest.NewNetwork(1), logs: newLogBook(), servers: map[string]*server.Server{}}
		c.ca = newAuthority(t)
		nodes := ""
		for name, address := range map[string]string{"lk1": "127.0.1.1", "lk2": "127.0.1.2", "lk3": "127.0.1.3", "n1": "127.0.2.1"} {
			nodes += fmt.Sprintf("%s { ip_interfaces { eth0 = %q } fence { power { switch { port = %q } } } }\n", name, address, name)
		}
		var err error
		c.config, err = ccs.Parse(ccs.Source{
			Cluster: []byte(`cluster { name = "safe" lock_gulm { servers = ["lk1", "lk2", "lk3"] } }`),
			Nodes:   []byte("nodes {" + nodes + "}"), Fence: []byte(`fence_devices { switch { agent = "fence_sim" } }`),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		test(t, c)
	})
}

// TestS8_ServersAndNodesWithCertificatesWork together.
func TestS8_ServersAndNodesWithCertificatesWork(t *testing.T) {
	withTrio(t, func(t *testing.T, c *trio) {
		for _, name := range c.config.Lock.Servers {
			c.start(name, "gulm://safe/server/"+name)
		}
		time.Sleep(10 * time.Second)
		quorate := 0
		for _, s := range c.servers {
			if s.Status().Quorate {
				quorate++
			}
		}
		if quorate != 3 {
			t.Fatalf("%d servers are quorate; %v", quorate, c.logs.find("servers refuse each other"))
		}
		n, err := client.Dial(t.Context(), client.Config{
			Cluster: "safe", Node: "n1", Servers: []string{"127.0.1.1:40040", "127.0.1.2:40040", "127.0.1.3:40040"}, BootID: "b",
			Probes: []client.Probe{}, Dialer: c.dialer("n1"), TLS: &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.ca.issue(time.Hour, "gulm://safe/node/n1")},
				RootCAs: c.ca.pool(), InsecureSkipVerify: true,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ls, err := n.Join(t.Context(), "fs", client.JoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ls.Lock(t.Context(), "r", client.EX); err != nil {
			t.Fatal(err)
		}
		if err := n.Logout(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestS8_OnlyServersReachTheLog: neither a node's nor an admin's nor another
// server's certificate lets one take part in the replicated log.
func TestS8_OnlyServersReachTheLog(t *testing.T) {
	for _, certificate := range []string{
		"gulm://safe/node/lk3", "gulm://safe/admin/lk3", "gulm://safe/observer/lk3", "gulm://safe/server/lk4", "gulm://other/server/lk3",
		"gulm://safe/server/lk2",
	} {
		t.Run(certificate, func(t *testing.T) {
			withTrio(t, func(t *testing.T, c *trio) {
				c.start("lk1", "gulm://safe/server/lk1")
				c.start("lk2", "gulm://safe/server/lk2")
				c.start("lk3", certificate)
				time.Sleep(20 * time.Second)
				if s := c.servers["lk3"].Status(); s.Quorate || s.Leading || s.AppliedIndex > 0 {
					t.Errorf("lk3 says %+v", s)
				}
				if !c.servers["lk1"].Status().Quorate || !c.servers["lk2"].Status().Quorate {
					t.Error("the true servers have no quorum")
				}
			})
		})
	}
}
