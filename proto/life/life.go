// Package life tells one life of this machine from another: what nodes and lock
// servers say about themselves when they log in.
package life

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bootIDFile has the kernel's boot id.
const bootIDFile = "proc/sys/kernel/random/boot_id"

// containerFiles exist in containers only.
var containerFiles = []string{".dockerenv", "run/.containerenv", "run/systemd/container"}

// containerWords are in the control group of a container's first process.
var containerWords = []string{"docker", "kubepods", "libpod", "containerd", "lxc", "machine.slice/systemd-nspawn", "machine-"}

// BootID returns the kernel's boot id: new with every boot of the machine.
func BootID() (string, error) {
	id, err := os.ReadFile("/" + bootIDFile)
	if err != nil {
		return "", fmt.Errorf("the kernel's boot id cannot be read: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// InContainer reports whether this process seems to run in a container. Its boot
// id is then that of the host, and says nothing about the life of the container.
func InContainer() bool { return os.Getenv("container") != "" || inContainer("/") }

// inContainer looks below a root folder.
func inContainer(root string) bool {
	for _, name := range containerFiles {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			return true
		}
	}
	groups, err := os.ReadFile(filepath.Join(root, "proc/1/cgroup"))
	if err != nil {
		return false
	}
	for _, word := range containerWords {
		if strings.Contains(string(groups), word) {
			return true
		}
	}
	return false
}
