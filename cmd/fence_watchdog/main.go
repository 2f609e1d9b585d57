// Command fence_watchdog is a fence agent that waits until the node's own watchdog
// must have reset it: the last method for nodes that arm one. See package
// watchdog.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"lock_gulmd/fence/watchdog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := watchdog.Main(ctx, os.Stdin, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	os.Exit(code)
}
