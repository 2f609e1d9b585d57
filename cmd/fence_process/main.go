// Command fence_process is a fence agent whose power switch is a process group,
// for tests, demonstrations and development. See package process.
package main

import (
	"os"

	"lock_gulmd/fence/process"
)

func main() {
	os.Exit(process.Main(os.Stdin, os.Stdout, os.Stderr, os.Args[1:]))
}
