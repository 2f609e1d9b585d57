package replica

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// A server that stops closes its connections, and whoever reads from one of them
// complains; an operator who looks for errors must not find that.
func TestRaftLog_ClosedHereIsNoFault(t *testing.T) {
	var text bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	log := newRaftLogger(slog.New(slog.NewTextHandler(&text, options)))
	log.Error("failed to decode incoming command", "error", fmt.Errorf("read: %w", net.ErrClosed))
	log.Error("failed to send snapshot to", "peer", "lk2", "error", errors.New("no space"))
	log.Log(hclog.Off, "nothing", "error", net.ErrClosed)
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "level=DEBUG") || !strings.Contains(lines[1], "level=ERROR") ||
		!strings.Contains(lines[1], `msg="raft: failed to send snapshot to" peer=lk2 err="no space"`) {
		t.Errorf("logged:\n%s", text.String())
	}
}
