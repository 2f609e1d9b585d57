package client

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// errBroken is what the probes of these tests fail with.
var errBroken = errors.New("no more processes")

// brittle is a probe that can be broken, or made to hang.
type brittle struct {
	broken, hangs atomic.Bool
	runs          atomic.Int64
	release       chan struct{} // ends the runs that hang
}

func (b *brittle) run(context.Context, *Node) error {
	b.runs.Add(1)
	if b.hangs.Load() {
		<-b.release // whatever its context says
	}
	if b.broken.Load() {
		return errBroken
	}
	return nil
}

// dialProbed logs in a node with one brittle probe: every 2 s, for 1 s, and it
// may fail for 8 s.
func dialProbed(t *testing.T, c *fakeCluster) (*Node, *brittle) {
	t.Helper()
	b := &brittle{release: make(chan struct{})}
	cfg := c.config("n1")
	cfg.Probes = []Probe{{Name: "start a process", Run: b.run, Every: 2 * time.Second, Limit: time.Second, Bound: 8 * time.Second}}
	n, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n, b
}

// TestProbe_StopsBeats: a node that answers but cannot work falls silent, is lost
// before the servers can expire it, and comes back when it can work again.
func TestProbe_StopsBeats(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n, b := dialProbed(t, c)
		ls := joinSpace(t, n)
		l := mustLock(t, ls, "r", EX)
		time.Sleep(time.Hour)
		lifeEvents(n, time.Now())
		if runs := b.runs.Load(); runs < 1700 || runs > 1900 || n.Trouble() != nil {
			t.Fatalf("%d runs in an hour, trouble: %v", runs, n.Trouble())
		}

		b.broken.Store(true)
		broken := time.Now()
		held := l.Context()
		time.Sleep(5 * time.Second)
		wantErr(t, n.Trouble(), errBroken)
		if n.State() != StateSafe || l.Valid() != nil {
			t.Fatalf("a probe may fail for a while, but the state is %v", n.State())
		}
		<-held.Done()
		newest := c.newestBeat()
		if lateBy := time.Since(newest); lateBy >= c.expiry {
			t.Fatalf("lost %v after the newest beat, the servers expire after %v", lateBy, c.expiry)
		}
		go func() { _, _ = ls.Lock(t.Context(), "s", EX) }()
		time.Sleep(time.Minute)
		if c.newestBeat() != newest || c.opCount(gulmv1.Op_OP_LOCK) != 1 || n.Master() != "" {
			t.Fatalf("a sick node says something to %q", n.Master())
		}
		wantErr(t, l.Valid(), ErrLost)

		b.broken.Store(false)
		for n.State() != StateSafe {
			time.Sleep(time.Second)
		}
		if n.Trouble() != nil || l.Valid() != nil {
			t.Fatalf("after it works again: %v, %v", n.Trouble(), l.Valid())
		}
		kinds, errs := probeEvents(n, broken)
		if want := []EventKind{EventJeopardy, EventLost, EventSafe}; !slices.Equal(kinds, want) {
			t.Fatalf("events are %v, want %v", kinds, want)
		}
		for _, err := range errs[:2] {
			wantErr(t, err, errBroken)
			if !strings.Contains(err.Error(), `probe "start a process" fails since `) {
				t.Fatalf("the reason is %q", err)
			}
		}
	})
}

// opCount returns how many requests of a kind were applied.
func (c *fakeCluster) opCount(op gulmv1.Op) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied[op.String()]
}

// probeEvents are the kinds and reasons of what was told, connections left out.
func probeEvents(n *Node, since time.Time) (kinds []EventKind, errs []error) {
	synctest.Wait()
	for {
		select {
		case e := <-n.Events():
			if e.At.Before(since) || e.Kind == EventConnected || e.Kind == EventDisconnected {
				continue
			}
			kinds, errs = append(kinds, e.Kind), append(errs, e.Err)
		default:
			return kinds, errs
		}
	}
}

// TestProbe_Hangs: a probe that the kernel does not let go counts as failing, is
// not started a second time, and does not keep anybody from closing the node.
func TestProbe_Hangs(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n, b := dialProbed(t, c)
		l := mustLock(t, joinSpace(t, n), "r", EX)
		time.Sleep(time.Minute)
		b.hangs.Store(true)
		time.Sleep(10 * time.Second)
		wantErr(t, n.Trouble(), errHangs)
		runs := b.runs.Load()
		<-n.Lost()
		wantErr(t, l.Valid(), ErrLost)
		time.Sleep(time.Hour)
		if more := b.runs.Load() - runs; more != 0 {
			t.Fatalf("%d more were started while one hangs", more)
		}
		b.hangs.Store(false)
		b.release <- struct{}{}
		for n.State() != StateSafe {
			time.Sleep(time.Second)
		}
		b.hangs.Store(true)
		time.Sleep(5 * time.Second)
		start := time.Now()
		if err := n.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*probeEnd {
			t.Fatalf("logout took %v", took)
		}
		b.release <- struct{}{}
	})
}

func TestProbe_RoundTrip(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg := c.config("n1")
		cfg.Probes = []Probe{RoundTripProbe()}
		n, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		l := mustLock(t, joinSpace(t, n), "r", EX)
		time.Sleep(time.Hour)
		if trips := c.opCount(gulmv1.Op_OP_CANCEL); trips < 110 || trips > 125 {
			t.Fatalf("%d round trips in an hour", trips)
		}
		lifeEvents(n, time.Now())

		// No server answers for an hour: that is not this node's fault.
		c.stop(c.addr(0))
		time.Sleep(time.Hour)
		if n.Trouble() != nil {
			t.Fatal(n.Trouble())
		}
		c.start(c.addr(0))
		for n.State() != StateSafe {
			time.Sleep(time.Second)
		}
		lifeEvents(n, time.Now())

		// Beats are acknowledged and nothing is answered: it stops its beats, and
		// when nobody has expired it, it comes back.
		c.with(func(f *faults) { f.deaf = true })
		<-n.Lost()
		wantErr(t, n.Trouble(), errNoAnswer)
		newest := c.newestBeat()
		if lateBy := time.Since(newest); lateBy >= c.expiry {
			t.Fatalf("lost %v after the newest beat", lateBy)
		}
		c.with(func(f *faults) { f.deaf = false })
		time.Sleep(2*c.expiry - c.expiry/2)
		if c.newestBeat() != newest {
			t.Fatal("it came back before the servers could expire it")
		}
		time.Sleep(2 * time.Minute)
		if err := l.Valid(); err != nil || n.Trouble() != nil {
			t.Fatalf("after the servers answer again: %v, %v", err, n.Trouble())
		}
	})
}

// TestProbe_Doubtful: a Config with a probe that cannot be run is refused.
func TestProbe_Doubtful(t *testing.T) {
	for _, p := range []Probe{{}, {Name: "x"}, {Run: (&brittle{}).run}, {Name: "x", Run: (&brittle{}).run, Bound: -1}} {
		_, err := Dial(t.Context(), Config{Cluster: "c", Node: "n", Servers: []string{"127.0.0.1:1"}, BootID: "b", Probes: []Probe{p}})
		wantErr(t, err, ErrInvalid)
	}
}

// TestProcessProbe starts real processes.
func TestProcessProbe(t *testing.T) {
	run := func(ctx context.Context, command string) error { return ProcessProbe(command).Run(ctx, nil) }
	if err := run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()) // no "true" anywhere
	if err := run(t.Context(), ""); err != nil {
		t.Fatalf("without any program: %v", err)
	}
	wantErr(t, run(t.Context(), "/nonexistent/program"), os.ErrNotExist)

	dir := t.TempDir()
	program := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var exit *exec.ExitError
	if err := run(t.Context(), program("fails", "#!/bin/sh\nexit 3\n")); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("a program that fails: %v", err)
	}

	stuck := ProcessProbe(program("stuck", "#!/bin/sh\necho $$ > "+dir+"/pid\nexec /bin/sleep 1000\n"))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for { // until it runs
			if text, err := os.ReadFile(dir + "/pid"); err == nil && len(text) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	wantErr(t, stuck.Run(ctx, nil), context.Canceled)
}

// TestFileProbe writes where it can, and leaves nothing.
func TestFileProbe(t *testing.T) {
	dir := t.TempDir()
	if err := FileProbe(dir).Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	if err := FileProbe(filepath.Join(dir, "none")).Run(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without the directory: %v", err)
	}
}
