package life

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBootID: the kernel has one, and it does not change while it runs.
func TestBootID(t *testing.T) {
	a, err := BootID()
	if err != nil {
		t.Skip(err)
	}
	if b, _ := BootID(); a != b || len(a) != 36 {
		t.Errorf("boot ids %q and %q", a, b)
	}
}

// TestInContainer_signs: each sign alone is enough, and a plain machine has none.
func TestInContainer_signs(t *testing.T) {
	for _, c := range []struct {
		file, text string
		want       bool
	}{
		{"proc/1/cgroup", "0::/init.scope\n", false},
		{"etc/hostname", "n1\n", false},
		{".dockerenv", "", true},
		{"run/.containerenv", "engine=\"podman\"\n", true},
		{"run/systemd/container", "systemd-nspawn\n", true},
		{"proc/1/cgroup", "12:cpu:/docker/4ac1\n", true},
		{"proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n", true},
	} {
		root := t.TempDir()
		name := filepath.Join(root, c.file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := inContainer(root); got != c.want {
			t.Errorf("%s with %q: %v, want %v", c.file, c.text, got, c.want)
		}
	}
}
