package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogPeriod is how often raft may repeat one warning: it writes one per
// attempt to reach a dead peer, several times a second.
const raftLogPeriod = 5 * time.Second

// raftLogger hands the library's lines to slog.
type raftLogger struct {
	log     *slog.Logger
	name    string
	implied []any
	limit   *limiter
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(l *slog.Logger) *raftLogger {
	return &raftLogger{log: l, limit: newLimiter(raftLogPeriod)}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

func (r *raftLogger) enabled(l hclog.Level) bool {
	return r.log.Enabled(context.Background(), slogLevel(l))
}

// Log implements hclog.Logger.
func (r *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	if level > hclog.Debug && level != hclog.Off && closedHere(args) {
		level = hclog.Debug
	}
	if level == hclog.Off || !r.enabled(level) {
		return
	}
	attrs := make([]any, 0, len(args)+2)
	if level >= hclog.Warn {
		suppressed, ok := r.limit.allow(msg)
		if !ok {
			return
		}
		if suppressed > 0 {
			attrs = append(attrs, slog.Int("suppressed", suppressed))
		}
	}
	for i := 0; i+1 < len(args); i += 2 {
		key := fmt.Sprint(args[i])
		if key == "error" {
			key = "err"
		}
		attrs = append(attrs, slog.Any(key, plain(args[i+1])))
	}
	r.log.Log(context.Background(), slogLevel(level), "raft: "+msg, attrs...)
}

// closedHere reports whether an error among args says that this server closed a
// connection itself, as it does when it stops: that is no fault of anybody.
func closedHere(args []any) bool {
	return slices.ContainsFunc(args, func(a any) bool {
		err, ok := a.(error)
		return ok && errors.Is(err, net.ErrClosed)
	})
}

// plain resolves hclog's lazy formats and names values by their own methods.
func plain(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		if f, ok := v[0].(string); ok {
			return fmt.Sprintf(f, v[1:]...)
		}
		return fmt.Sprint(v...)
	case error:
		return v.Error()
	case fmt.Stringer:
		return v.String()
	}
	return v
}

// Trace implements hclog.Logger.
func (r *raftLogger) Trace(msg string, args ...any) { r.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (r *raftLogger) Debug(msg string, args ...any) { r.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (r *raftLogger) Info(msg string, args ...any) { r.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (r *raftLogger) Warn(msg string, args ...any) { r.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (r *raftLogger) Error(msg string, args ...any) { r.Log(hclog.Error, msg, args...) }

// IsTrace implements hclog.Logger.
func (r *raftLogger) IsTrace() bool { return r.enabled(hclog.Trace) }

// IsDebug implements hclog.Logger.
func (r *raftLogger) IsDebug() bool { return r.enabled(hclog.Debug) }

// IsInfo implements hclog.Logger.
func (r *raftLogger) IsInfo() bool { return r.enabled(hclog.Info) }

// IsWarn implements hclog.Logger.
func (r *raftLogger) IsWarn() bool { return r.enabled(hclog.Warn) }

// IsError implements hclog.Logger.
func (r *raftLogger) IsError() bool { return r.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (r *raftLogger) ImpliedArgs() []any { return r.implied }

// With implements hclog.Logger.
func (r *raftLogger) With(args ...any) hclog.Logger {
	c := *r
	c.implied = append(append([]any(nil), r.implied...), args...)
	resolved := make([]any, len(args))
	for i, a := range args {
		resolved[i] = plain(a)
	}
	c.log = r.log.With(resolved...)
	return &c
}

// Name implements hclog.Logger.
func (r *raftLogger) Name() string { return r.name }

// Named implements hclog.Logger.
func (r *raftLogger) Named(name string) hclog.Logger { return r.ResetNamed(r.name + name) }

// ResetNamed implements hclog.Logger.
func (r *raftLogger) ResetNamed(name string) hclog.Logger {
	c := *r
	c.name = name
	return &c
}

// SetLevel implements hclog.Logger; slog's handler decides the level.
func (r *raftLogger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (r *raftLogger) GetLevel() hclog.Level {
	for l := hclog.Trace; l < hclog.Error; l++ {
		if r.enabled(l) {
			return l
		}
	}
	return hclog.Error
}

// StandardLogger implements hclog.Logger.
func (r *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(r.log.Handler(), slog.LevelInfo)
}

// StandardWriter implements hclog.Logger.
func (r *raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return r.StandardLogger(o).Writer()
}
