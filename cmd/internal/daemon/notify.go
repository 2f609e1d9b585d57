package daemon

import (
	"net"
	"os"
)

// notifyEnv names the socket on which systemd wants to hear how a service is.
const notifyEnv = "NOTIFY_SOCKET"

// notify tells systemd a state such as READY=1. It does nothing and returns nil
// when systemd has not asked for it.
func notify(state string) error {
	name := os.Getenv(notifyEnv)
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
