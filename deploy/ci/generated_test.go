package ci

import (
	"os/exec"
	"testing"
)

// TestGenerated proves that the committed .pb.go files are what the .proto
// files and the pinned plugins give.
func TestGenerated(t *testing.T) {
	m := theModule(t)
	cmd := exec.CommandContext(t.Context(), "go", "run", "./deploy/tools/protogen", "-check")
	cmd.Dir = m.root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
