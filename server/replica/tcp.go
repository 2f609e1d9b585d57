package replica

import (
	"crypto/tls"
	"net"
	"time"
)

// tcpLayer is a StreamLayer over TCP.
type tcpLayer struct {
	net.Listener
	conf *tls.Config
}

// Listen returns a StreamLayer on the TCP address addr. With a nil conf the
// connections are in plain text and not authenticated, for tests and loopback
// only. conf serves both directions: it needs this server's certificate,
// ClientAuth and ClientCAs for those who call, RootCAs for those who are called.
func Listen(addr string, conf *tls.Config) (StreamLayer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	return &tcpLayer{l, conf}, nil
}

// Dial implements StreamLayer.
func (t *tcpLayer) Dial(address string, timeout time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if t.conf == nil {
		return d.Dial("tcp", address)
	}
	return tls.DialWithDialer(d, "tcp", address, t.conf)
}
