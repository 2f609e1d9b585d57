package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// patient makes lk1 the first leader and lets it not notice that it is cut off,
// as if its process were paused.
func patient(cfg *Config) {
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLease = 2*time.Second, 2*time.Second, 2*time.Second
	if cfg.Server == "lk1" {
		cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLease = 30*time.Second, 30*time.Second, 30*time.Second
	}
}

// deposedWriter is the recipe of raft issue 695: a deposed leader that hears the
// new leader's heartbeats only, and then is asked to write.
func deposedWriter(t *testing.T, fastPath bool) (diverged bool) {
	synctest.Test(t, func(t *testing.T) {
		var alone, deaf atomic.Bool
		c := newCluster(t, 3, func(cfg *Config) {
			patient(cfg)
			from := cfg.Server
			cfg.hooks.fastPath = fastPath
			cfg.hooks.send = func(to string, rpc any) error {
				switch {
				case from != "lk1" && to != "lk1":
					return nil
				case alone.Load(), deaf.Load() && (from == "lk1" || !isHeartbeat(rpc)):
					return errNoRoute
				}
				return nil
			}
		})
		defer c.close()
		n0 := c.members["lk1"]
		for c.leader() != n0 {
			must(t, c.leader().r.TransferLeadership(context.Background()))
			time.Sleep(3 * time.Second)
		}
		c.propose(n0, "base")
		c.agree([]string{"base"})

		alone.Store(true)
		time.Sleep(15 * time.Second)
		var m *member
		for _, o := range c.others(n0) {
			if o.r.Status().Leading {
				m = o
			}
		}
		if m == nil || !n0.r.Status().Leading {
			t.Fatal("want an old and a new leader")
		}
		must(t, m.r.Barrier(context.Background()))
		deaf.Store(true)
		alone.Store(false)
		time.Sleep(3 * time.Second) // heartbeats only
		// Propose would look at raft's state first; the fault lies behind that look.
		f := n0.r.raft.Apply(seal([]byte("EVIL")), 0)
		time.Sleep(time.Second)
		deaf.Store(false)
		c.propose(m, "after")
		time.Sleep(time.Minute)
		_ = f.Error()
		diverged = !slices.Equal(n0.tape.got(), m.tape.got())
	})
	return diverged
}

func TestGuardHeartbeatFastPath(t *testing.T) {
	if deposedWriter(t, false) {
		t.Error("machines differ though the transport has no heartbeat handler")
	}
	if !deposedWriter(t, true) {
		t.Error("the fault did not show with the heartbeat handler: has raft been mended, or does this test no longer provoke it?")
	}
}

// faultyLog fails or hangs on demand.
type faultyLog struct {
	logStore
	err  atomic.Pointer[error]
	mu   sync.Mutex
	hang chan struct{}
}

func (f *faultyLog) StoreLogs(logs []*raft.Log) error {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if e := f.err.Load(); e != nil {
		return *e
	}
	return f.logStore.StoreLogs(logs)
}

func (f *faultyLog) setHang(c chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang = c
}

// faultyStable fails on demand.
type faultyStable struct {
	raft.StableStore
	err atomic.Pointer[error]
}

func (f *faultyStable) SetUint64(k []byte, v uint64) error {
	if e := f.err.Load(); e != nil {
		return *e
	}
	return f.StableStore.SetUint64(k, v)
}

// faultyCluster has stores that can be made to fail.
func faultyCluster(t *testing.T, tune func(*Config)) (*cluster, map[string]*faultyLog, map[string]*faultyStable) {
	logs, stables := map[string]*faultyLog{}, map[string]*faultyStable{}
	return newCluster(t, 3, func(cfg *Config) {
		if tune != nil {
			tune(cfg)
		}
		name := cfg.Server
		cfg.hooks.faults = func(d *disk) {
			logs[name] = &faultyLog{logStore: d.log}
			stables[name] = &faultyStable{StableStore: d.stable}
			d.log, d.stable = logs[name], stables[name]
		}
	}), logs, stables
}

func TestGuardHangingDisk(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		t.Run(fmt.Sprint("guarded=", guarded), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, logs, _ := faultyCluster(t, func(cfg *Config) { cfg.hooks.noStallWatch = !guarded })
				defer c.close()
				m := c.leader()
				c.propose(m, "a")
				hang := make(chan struct{})
				logs[m.name].setHang(hang)
				f, err := m.r.Propose([]byte("b"))
				must(t, err)
				time.Sleep(10 * time.Minute)
				var fatal error
				select {
				case fatal = <-m.fatal:
				default:
				}
				follower := c.others(m)[0].r.Status().Leader
				if !guarded {
					if fatal != nil || follower != m.name {
						t.Errorf("the fault did not show: followers follow %q, fatal %v", follower, fatal)
					}
					close(hang)
					return
				}
				if fatal == nil || !strings.Contains(fatal.Error(), "longer than 10s") {
					t.Errorf("Fatal was told %v", fatal)
				}
				if follower == m.name || follower == "" {
					t.Errorf("ten minutes later the followers follow %q", follower)
				}
				close(hang)
				if _, _, err := f.Wait(context.Background()); !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("the hanging command ended in %v", err)
				}
				c.stop(m.name)
				c.propose(c.leader(), "c")
			})
		})
	}
}

func TestGuardDiskErrorPoisons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, logs, _ := faultyCluster(t, nil)
		defer c.close()
		m := c.leader()
		c.propose(m, "a")
		eio := errors.New("input/output error")
		logs[m.name].err.Store(&eio)
		f, err := m.r.Propose([]byte("b"))
		must(t, err)
		if _, _, err := f.Wait(context.Background()); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the failed command ended in %v", err)
		}
		if err := <-m.fatal; !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("Fatal was told %v", err)
		}
		// The disk answers again; nobody asks it.
		logs[m.name].err.Store(nil)
		g := m.r.guard
		store := &guardedLog{g, logs[m.name], false}
		if err := store.StoreLogs(nil); !errors.Is(err, ErrPoisoned) {
			t.Errorf("a poisoned store answered %v", err)
		}
		n := c.leader()
		if n == m {
			t.Fatal("the server with the failed disk leads")
		}
		c.propose(n, "c")
		time.Sleep(time.Minute)
		if got := m.tape.got(); slices.Contains(got, "c") {
			t.Errorf("the server with the failed disk goes on: %q", got)
		}
		// A restart heals it.
		c.stop(m.name)
		c.start(m.name)
		c.propose(c.leader(), "d")
		c.agree(c.leader().tape.got())
	})
}

func TestGuardTermNotWrittenDoesNotPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, stables := faultyCluster(t, nil)
		defer c.close()
		m := c.leader()
		eio := errors.New("input/output error")
		o := c.others(m)[0]
		stables[o.name].err.Store(&eio)
		c.kill(m.name) // forces an election
		if err := <-o.fatal; !strings.Contains(err.Error(), "term") {
			t.Errorf("Fatal was told %v", err)
		}
		c.stop(o.name)
		c.start(o.name)
		c.propose(c.leader(), "a")
	})
}

func TestGuardUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		cfg := Config{StoreStallLimit: 8 * time.Second}
		g := newGuard(cfg, func(err error) { told = append(told, err) })
		g.running.Store(true)
		must(t, g.do("reading", func() error { time.Sleep(7 * time.Second); return nil }))
		if err := g.do("reading", func() error { return raft.ErrLogNotFound }); err != raft.ErrLogNotFound {
			t.Errorf("an absent entry gave %v: raft compares with ==", err)
		}
		synctest.Wait()
		if len(told) != 0 {
			t.Errorf("harmless calls were fatal: %v", told)
		}
		if err := g.do("writing", func() error { time.Sleep(9 * time.Second); return nil }); !errors.Is(err, ErrPoisoned) {
			t.Errorf("a call that took too long gave %v", err)
		}
		if err := g.do("writing", func() error { t.Error("a poisoned store was asked"); return nil }); !errors.Is(err, ErrPoisoned) {
			t.Errorf("a poisoned store gave %v", err)
		}
		synctest.Wait()
		if len(told) != 1 {
			t.Errorf("told %d times: %v", len(told), told)
		}
	})
}

func TestGuardUncommittedTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := tailCluster(t, func(cfg *Config) { cfg.MaxInFlight, cfg.TrailingLogs = 50, 100 })
		defer c.close()
		tailHeals(t, c, away, 51)
		if n := c.members["lk1"].tape.restored(); n > 1 {
			t.Errorf("lk1 was sent a snapshot %d times", n)
		}
		c.agree(c.leader().tape.got())
	})
}

func TestGuardUncommittedTailRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := tailCluster(t, func(cfg *Config) {
			cfg.hooks.noTailCap = true
			cfg.MaxInFlight, cfg.TrailingLogs = 4096, 10
			if cfg.Server == "lk1" {
				cfg.SnapshotThreshold = 1 << 30
			}
		})
		defer c.close()
		tailHeals(t, c, away, 600)
		if n := c.members["lk1"].tape.restored(); n < 10 {
			t.Errorf("the fault did not show without the guard: %d snapshots installed", n)
		}
	})
}

// tailCluster has a lk1 whose requests and answers are dropped while away is set.
func tailCluster(t *testing.T, tune func(*Config)) (c *cluster, away *atomic.Bool) {
	away = new(atomic.Bool)
	c = newCluster(t, 3, func(cfg *Config) {
		patient(cfg)
		cfg.SnapshotThreshold, cfg.SnapshotInterval = 20, time.Second
		tune(cfg)
		from := cfg.Server
		cfg.hooks.send = func(to string, _ any) error {
			if away.Load() && (from == "lk1" || to == "lk1") {
				return errNoRoute
			}
			return nil
		}
	})
	return c, away
}

// tailHeals cuts lk1 off with an uncommitted tail of up to n entries, lets the
// others go on, beyond what raft's cache holds, and take a snapshot, and heals.
func tailHeals(t *testing.T, c *cluster, away *atomic.Bool, n int) {
	m := c.members["lk1"]
	for c.leader() != m {
		must(t, c.leader().r.TransferLeadership(context.Background()))
		time.Sleep(3 * time.Second)
	}
	c.propose(m, "base")
	c.agree([]string{"base"})
	away.Store(true)
	taken, limit := 0, m.r.cfg.MaxInFlight
	for range n {
		_, err := m.r.Propose([]byte("tail"))
		if err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		if err == nil {
			taken++
		}
	}
	if want := min(n, limit); taken != want {
		t.Errorf("%d commands taken without a majority, want %d", taken, want)
	}
	time.Sleep(10 * time.Second)
	var next *member
	for _, o := range c.others(m) {
		if o.r.Status().Leading {
			next = o
		}
	}
	if next == nil {
		t.Fatal("no new leader")
	}
	for i := range 3 * logCache {
		c.propose(next, fmt.Sprint("n", i))
	}
	time.Sleep(5 * time.Second)
	away.Store(false)
	time.Sleep(30 * time.Second)
}

func TestTailCapIsValidated(t *testing.T) {
	cfg := Config{MaxInFlight: 60, TrailingLogs: 100}.withDefaults()
	if err := errors.Join(cfg.validateLimits()...); err == nil || !strings.Contains(err.Error(), "TrailingLogs") {
		t.Errorf("a tail longer than the trailing log was accepted: %v", err)
	}
	if err := errors.Join(Config{}.withDefaults().validateLimits()...); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestInFlightBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *Config) { cfg.MaxCommand, cfg.MaxInFlightBytes = 100, 1000 })
		defer c.close()
		m := c.leader()
		c.wire.isolate(m.name, "lk1", "lk2", "lk3")
		for i := range 11 {
			_, err := m.r.Propose(make([]byte, 100))
			if want := i == 10; errors.Is(err, ErrBusy) != want {
				t.Errorf("command %d gave %v", i, err)
			}
		}
	})
}
