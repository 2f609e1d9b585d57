package master

import (
	"log/slog"
	"strings"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/machine"
)

// Note logs what a command did to mounts and journals, if this server serves. It
// is called by the machine for every command, in log order, and does not block.
func (m *Master) Note(a *machine.Applied) {
	if m == nil || len(a.Result.Notes) == 0 {
		return
	}
	t := m.serving.Load()
	if t == nil {
		return
	}
	for i := range a.Result.Notes {
		n := &a.Result.Notes[i]
		attrs := []any{
			"lockspace", strings.ToValidUTF8(n.Space, "\uFFFD"), "jid", n.JID, "node", n.Life.Node, "incarnation", n.Life.Incarnation,
		}
		if n.By.Node != "" {
			attrs = append(attrs, "by", n.By.Node)
		}
		level := slog.LevelInfo
		if n.Kind == journal.NoteFailed {
			level = slog.LevelError
			attrs = append(attrs, "err", n.Text)
		}
		t.log.Log(t.ctx, level, n.Kind.String(), attrs...)
	}
}
