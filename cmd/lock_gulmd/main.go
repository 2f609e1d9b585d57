// Command lock_gulmd is the lock server: one, three, four or five of them serve
// the locks of a cluster. Started without options it reads its configuration
// from /etc/gulm; lock_gulmd --help says the rest.
//
// Exit status: 0 stopped as asked, 1 the server could not start or go on, 2
// wrong usage or an unusable configuration.
package main

import (
	"os"

	"lock_gulmd/cmd/internal/daemon"
	"lock_gulmd/fence"
)

func main() {
	fence.Supervise()
	os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr))
}
