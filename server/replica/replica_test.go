package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestThreeServersElectAndAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("c", i))
			c.propose(m, want[i])
		}
		c.agree(want)
		must(t, m.r.VerifyLeader(context.Background()))
		s := m.r.Status()
		if !s.Leading || s.Leader != m.name || !s.Quorate || s.LastContact != 0 || len(s.Peers) != 3 || s.AppliedIndex != s.LastIndex {
			t.Errorf("leader's status: %+v", s)
		}
		for _, o := range c.others(m) {
			s := o.r.Status()
			if s.Leading || s.Leader != m.name || !s.Quorate || s.LastContact < 0 {
				t.Errorf("status of %s: %+v", o.name, s)
			}
			if _, err := o.r.Propose([]byte("x")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower took a command: %v", err)
			}
			if err := o.r.VerifyLeader(context.Background()); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower verified itself: %v", err)
			}
		}
	})
}

func TestSingleServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		defer c.close()
		m := c.leader()
		c.propose(m, "a")
		c.stop("lk1")
		c.start("lk1")
		c.propose(c.leader(), "b")
		c.agree([]string{"a", "b"})
	})
}

func TestRestartOfAllKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		c.propose(c.leader(), "a")
		for _, p := range c.peers {
			c.kill(p.Name)
		}
		for _, p := range c.peers {
			c.start(p.Name)
		}
		c.propose(c.leader(), "b")
		c.agree([]string{"a", "b"})
	})
}

func TestKilledLeaderIsReplacedAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		var want []string
		for round := range 6 {
			m := c.leader()
			cmd := fmt.Sprint("round", round)
			want = append(want, cmd)
			c.propose(m, cmd)
			c.kill(m.name)
			n := c.leader()
			if n.name == m.name {
				t.Fatal("a killed server leads")
			}
			want = append(want, cmd+"'")
			c.propose(n, cmd+"'")
			c.start(m.name)
		}
		c.agree(want)
	})
}

func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *Config) {
			cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs, cfg.MaxInFlight = 20, time.Second, 16, 8
		})
		defer c.close()
		m := c.leader()
		lag := c.others(m)[0]
		c.kill(lag.name)
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint("c", i))
			c.propose(m, want[i])
		}
		time.Sleep(5 * time.Second)
		c.propose(m, "last")
		c.start(lag.name)
		c.agree(append(want, "last"))
		if lag.tape.restored() != 1 {
			t.Errorf("the lagging follower was restored %d times, want 1", lag.tape.restored())
		}
		// Its own disk now begins with that snapshot.
		c.kill(lag.name)
		c.start(lag.name)
		c.agree(append(want, "last"))
	})
}

func TestPartitionedLeaderLosesItsTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		old := c.leader()
		c.propose(old, "a")
		c.agree([]string{"a"})
		c.wire.isolate(old.name, "lk1", "lk2", "lk3")
		f, err := old.r.Propose([]byte("lost"))
		must(t, err)
		if _, _, err := f.Wait(context.Background()); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("proposing without a majority gave %v", err)
		}
		if s := old.r.Status(); s.Leading || s.Quorate {
			t.Errorf("a leader without a majority says %+v", s)
		}
		m := c.leader()
		c.propose(m, "b")
		c.wire.heal()
		c.propose(m, "c")
		c.agree([]string{"a", "b", "c"})
	})
}

// One-way partitions: a server that hears but is not heard must not disturb the
// leader for long, and one that is heard but does not hear must not stay leader.
func TestOneWayPartitions(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprint("deaf=", deaf), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				defer c.close()
				old := c.leader()
				for _, o := range c.others(old) {
					if deaf {
						c.wire.block(o.name, old.name)
					} else {
						c.wire.block(old.name, o.name)
					}
				}
				time.Sleep(20 * time.Second)
				m := c.leader()
				if m == old {
					t.Fatal("the cut-off server leads")
				}
				c.propose(m, "a")
				c.wire.heal()
				c.agree([]string{"a"})
			})
		})
	}
}

func TestLeadershipNeverDropsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		ch := m.r.Leadership()
		synctest.Wait()
		if l := <-ch; !l.Leading || l.Term != m.r.Status().Term {
			t.Fatalf("the leader was told %+v", l)
		}
		// Lost, and won again later, while nobody reads.
		c.wire.isolate(m.name, "lk1", "lk2", "lk3")
		time.Sleep(10 * time.Second)
		c.wire.heal()
		n := c.leader()
		for _, o := range c.others(n) {
			if o != m {
				c.kill(o.name)
			}
		}
		if n != m {
			c.kill(n.name)
			c.start(n.name)
		}
		n = c.leader()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if l := <-ch; l.Leading != (n == m) || l.Leading && l.Term != m.r.Status().Term {
			t.Fatalf("after the change the server was told %+v", l)
		}
		select {
		case l := <-ch:
			t.Fatalf("an older value came after: %+v", l)
		default:
		}
	})
}

func TestProposalsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		var want []string
		var futures []*Future
		for i := range 2000 {
			want = append(want, fmt.Sprint("c", i))
			f, err := m.r.Propose([]byte(want[i]))
			must(t, err)
			futures = append(futures, f)
		}
		must(t, m.r.Barrier(context.Background()))
		var last uint64
		for _, f := range futures {
			<-f.Done()
			_, index, err := f.Wait(context.Background())
			must(t, err)
			if index <= last {
				t.Fatalf("index %d after %d", index, last)
			}
			last = index
		}
		c.agree(want)
	})
}

func TestProposeFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := range 20 {
					f, err := m.r.Propose(fmt.Appendf(nil, "%d-%d", g, i))
					if err == nil {
						_, _, err = f.Wait(context.Background())
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want := m.tape.got()
		if len(want) != 320 {
			t.Errorf("%d commands applied, want 320", len(want))
		}
		c.agree(want)
	})
}

func TestProposeRefusesWhatIsTooLargeOrLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *Config) { cfg.MaxCommand = 10 })
		m := c.leader()
		if _, err := m.r.Propose(make([]byte, 11)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a large command gave %v", err)
		}
		c.propose(m, strings.Repeat("x", 10))
		r := m.r
		c.close()
		if _, err := r.Propose([]byte("x")); !errors.Is(err, ErrStopped) {
			t.Errorf("proposing to a closed replica gave %v", err)
		}
		if err := r.Barrier(context.Background()); !errors.Is(err, ErrStopped) {
			t.Errorf("a barrier at a closed replica gave %v", err)
		}
		must(t, r.Close(context.Background()))
	})
}

func TestCloseAnswersWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		c.wire.isolate(m.name, "lk1", "lk2", "lk3")
		var futures []*Future
		for range 100 {
			f, err := m.r.Propose([]byte("x"))
			must(t, err)
			futures = append(futures, f)
		}
		c.stop(m.name)
		for _, f := range futures {
			if _, _, err := f.Wait(context.Background()); !errors.Is(err, ErrUnknownOutcome) {
				t.Fatalf("a command under way at Close ended in %v", err)
			}
		}
	})
}

func TestMachineFaultStopsTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		odd := c.others(m)[0]
		odd.tape.mu.Lock()
		odd.tape.faultOn = "b"
		odd.tape.mu.Unlock()
		for _, cmd := range []string{"a", "b", "c"} {
			c.propose(m, cmd)
		}
		err := <-odd.fatal
		if err == nil || !strings.Contains(err.Error(), "digest differs") {
			t.Errorf("Fatal was told %v", err)
		}
		time.Sleep(10 * time.Second)
		if got := odd.tape.got(); len(got) != 1 {
			t.Errorf("the faulty machine went on: %q", got)
		}
		if s := odd.r.Status(); s.Failed == nil || s.Quorate {
			t.Errorf("status of the faulty server: %+v", s)
		}
		c.stop(odd.name)
		c.agree([]string{"a", "b", "c"})
	})
}

func TestRemoveAndReadmitWithANewDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		c.propose(m, "a")
		lost := c.others(m)[0]
		c.kill(lost.name)
		lost.disk = NewMemory()
		c.start(lost.name)
		time.Sleep(10 * time.Second)
		if got := lost.tape.got(); len(got) != 0 {
			t.Fatalf("a wiped disk took part: %q", got)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, m.r.Remove(ctx, lost.name))
		for _, o := range c.others(lost) {
			must(t, o.r.Readmit(lost.name))
		}
		must(t, m.r.Add(ctx, lost.name))
		c.propose(m, "b")
		c.agree([]string{"a", "b"})
		for _, p := range m.r.Status().Peers {
			if !p.Voter {
				t.Errorf("server %s is no voter", p.Name)
			}
		}
		// It counts again: with the third server gone, two of three are a majority.
		for _, o := range c.others(m) {
			if o != lost {
				c.kill(o.name)
			}
		}
		c.propose(c.leader(), "c")
		c.agree([]string{"a", "b", "c"})
	})
}
