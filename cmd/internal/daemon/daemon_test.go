package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/ccs"
)

// fakeServer is an instance whose leaving and closing last as long as a test
// wants.
type fakeServer struct {
	leave, close time.Duration
	closeErr     error

	done chan struct{}

	mu     sync.Mutex // what was given up may still run when a test looks
	err    error
	left   bool
	forced bool
	closed bool
}

// did tells whether the server was logged out, whether by force, and closed.
func (f *fakeServer) did() (left, forced, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left, f.forced, f.closed
}

func newFake() *fakeServer { return &fakeServer{done: make(chan struct{})} }

func (f *fakeServer) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
	default:
		f.err = err
		close(f.done)
	}
}

func (f *fakeServer) Done() <-chan struct{} { return f.done }

func (f *fakeServer) Err() error {
	<-f.done
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fakeServer) Leave(ctx context.Context, force bool) error {
	pause(ctx, f.leave)
	f.mu.Lock()
	f.left, f.forced = true, force
	f.mu.Unlock()
	f.end(nil)
	return nil
}

func (f *fakeServer) Close(ctx context.Context) error {
	f.end(nil)
	pause(ctx, f.close)
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	return errors.Join(f.closeErr, ctx.Err())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name    string
		setup   func(*fakeServer)
		signals []syscall.Signal // one per second, the first at once
		code    int
		left    bool
		took    time.Duration
		log     string
	}{
		{"asked by a signal", func(*fakeServer) {}, []syscall.Signal{syscall.SIGTERM}, ExitOK, true, 0, "stopped"},
		{"asked by an operator", func(f *fakeServer) { f.end(nil) }, nil, ExitOK, false, 0, "stopped"},
		{"cannot go on", func(f *fakeServer) { f.end(errors.New("disk is broken")) }, nil, ExitFailed, false, 0, "disk is broken"},
		{
			"a slow master", func(f *fakeServer) { f.leave = time.Hour },
			[]syscall.Signal{syscall.SIGINT},
			ExitOK, true, leaveLimit, "stopped",
		},
		{
			"a disk that hangs", func(f *fakeServer) { f.close = time.Hour },
			[]syscall.Signal{syscall.SIGTERM},
			ExitFailed, true, closeLimit, "deadline exceeded",
		},
		{
			"asked twice", func(f *fakeServer) { f.leave = time.Hour },
			[]syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGTERM},
			ExitFailed, false, 2 * time.Second, "stopping at once",
		},
		{
			"reload first", func(*fakeServer) {},
			[]syscall.Signal{syscall.SIGHUP, syscall.SIGTERM},
			ExitOK, true, time.Second, "nothing to reload",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				test.setup(f)
				signals := make(chan os.Signal, 4)
				var log bytes.Buffer
				d := &daemon{
					configuration: &configuration{self: ccs.Server{Name: "lk1"}}, signals: signals,
					log: slog.New(slog.NewTextHandler(&log, nil)), server: f,
				}
				var sender sync.WaitGroup
				sender.Go(func() {
					for _, sig := range test.signals {
						signals <- sig
						time.Sleep(time.Second)
					}
				})
				start := time.Now()
				code := d.wait()
				took := time.Since(start)
				sender.Wait()
				if code != test.code || took != test.took || !strings.Contains(log.String(), test.log) {
					t.Errorf("exit status %d after %v, want %d after %v:\n%s", code, took, test.code, test.took, &log)
				}
				left, forced, closed := f.did()
				if left != test.left || left && !forced {
					t.Errorf("logged out %t by force %t, want %t", left, forced, test.left)
				}
				if code == ExitOK && !closed {
					t.Error("the server was not closed")
				}
				time.Sleep(2 * time.Hour) // what was given up ends before the bubble
			})
		})
	}
}

func TestNotify(t *testing.T) {
	t.Setenv(notifyEnv, "")
	if err := notify("READY=1"); err != nil {
		t.Errorf("nobody asked: %v", err)
	}
	path := filepath.Join(t.TempDir(), "s")
	for _, name := range []string{path, "@gulm-test-" + filepath.Base(t.TempDir()) + t.Name() + path} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(notifyEnv, name)
		if err := notify("READY=1"); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		_ = conn.Close()
	}
	if err := notify("READY=1"); err == nil {
		t.Error("a socket that nobody reads: no error")
	}
}
