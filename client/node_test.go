package client

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/proto/life"
)

func TestDial_RefusesFaultyConfigs(t *testing.T) {
	good := Config{Cluster: "alpha", Node: "n1", Servers: []string{"127.0.0.1:40040"}, BootID: "b"}
	for name, spoil := range map[string]func(*Config){
		"no cluster":     func(c *Config) { c.Cluster = "" },
		"no node":        func(c *Config) { c.Node = "" },
		"no servers":     func(c *Config) { c.Servers = nil },
		"no port":        func(c *Config) { c.Servers = []string{"127.0.0.1"} },
		"plain text":     func(c *Config) { c.Servers = append(c.Servers, "10.0.0.1:40040") },
		"plain name":     func(c *Config) { c.Servers = []string{"lk1:40040"} },
		"long boot id":   func(c *Config) { c.BootID = strings.Repeat("b", 65) },
		"batch":          func(c *Config) { c.BatchLimit = 100000 },
		"in flight":      func(c *Config) { c.MaxInFlight = -1 },
		"pauses":         func(c *Config) { c.PauseMin, c.PauseMax = 2*time.Second, time.Second },
		"negative limit": func(c *Config) { c.CallLimit = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error is %v, want %v", name, err, ErrInvalid)
		}
	}
	for _, addr := range []string{"127.9.9.9:1", "[::1]:1", "localhost:1"} {
		cfg := good
		cfg.Servers = []string{addr}
		if _, err := cfg.withDefaults(); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	cfg := good
	cfg.Servers, cfg.TLS = []string{"lk1:40040"}, &tls.Config{MinVersion: tls.VersionTLS13}
	if _, err := cfg.withDefaults(); err != nil {
		t.Error(err)
	}
}

func TestConfig_Defaults(t *testing.T) {
	cfg, err := Config{Cluster: "alpha", Node: "n1", Servers: []string{"127.0.0.1:1"}, Process: strings.Repeat("p", 99)}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	boot, err := life.BootID()
	if err != nil {
		t.Skip("this system has no boot id")
	}
	if cfg.BootID != boot || cfg.Container == nil || len(cfg.Process) != maxProcess || cfg.MaxInFlight != DefaultMaxInFlight {
		t.Fatalf("defaults are %+v", cfg)
	}
}

func TestDial_FindsTheMasterThroughAnyServer(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		c.elect(c.addr(1))
		cfg := c.config("n1")
		cfg.Servers = []string{c.addr(2)}
		n, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if n.Master() != c.addr(1) || n.Session() == 0 || n.Incarnation() == 0 || n.State() != StateSafe || n.Name() != "n1" {
			t.Fatalf("master %q, session %d, incarnation %d, %v", n.Master(), n.Session(), n.Incarnation(), n.State())
		}
		if n.Expiry() != 6*time.Second {
			t.Fatalf("expiry is %v", n.Expiry())
		}
		c.stop(c.addr(1))
		c.stop(c.addr(2))
		c.elect(c.addr(0)) // was learned at login
		time.Sleep(2 * time.Second)
		if n.Master() != c.addr(0) {
			t.Fatalf("master is %q", n.Master())
		}
	})
}

func TestDial_WaitsForWhatPasses(t *testing.T) {
	for _, reason := range []error{ErrNotFenced, ErrNodeExpired, ErrStaleIncarnation, ErrNoQuorum, gulmerr.ErrShuttingDown} {
		bubble(t, 3, func(t *testing.T, c *fakeCluster) {
			c.with(func(f *faults) { f.login = reason })
			_, err := Dial(shortly(t, 10*time.Second), c.config("n1"))
			wantErr(t, err, context.DeadlineExceeded)
			wantErr(t, err, reason)
			time.AfterFunc(10*time.Second, func() { c.with(func(f *faults) { f.login = nil }) })
			start := time.Now()
			dialNode(t, c, "n1")
			if took := time.Since(start); took < 10*time.Second || took > 10*time.Second+2*DefaultPauseMax {
				t.Fatalf("%v: dialled after %v", reason, took)
			}
		})
	}
}

func TestDial_GivesUpWhatDoesNotPass(t *testing.T) {
	for _, reason := range []error{ErrUnknownNode, ErrLimit, gulmerr.ErrVersion, gulmerr.ErrPermission} {
		bubble(t, 1, func(t *testing.T, c *fakeCluster) {
			c.with(func(f *faults) { f.login = reason })
			_, err := Dial(t.Context(), c.config("n1"))
			wantErr(t, err, reason)
		})
	}
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg := c.config("n1")
		cfg.Cluster = "beta"
		_, err := Dial(t.Context(), cfg)
		wantErr(t, err, ErrWrongCluster)
	})
}

func TestDial_SaysWhatItWaitedFor(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *fakeCluster) {
		c.elect("")
		_, err := Dial(shortly(t, 10*time.Second), c.config("n1"))
		wantErr(t, err, ErrNoQuorum)
		if !strings.Contains(err.Error(), "127.0.0.2:40040: pending") {
			t.Fatalf("error does not say what each server is: %v", err)
		}
		c.stop(c.addr(0))
		c.stop(c.addr(1))
		cfg := c.config("n1")
		cfg.Servers = []string{c.addr(0), c.addr(1)}
		_, err = Dial(shortly(t, 10*time.Second), cfg)
		wantErr(t, err, ErrUnavailable)
		wantErr(t, err, context.DeadlineExceeded)
	})
}

// TestDial_LogsOutOfALoginThatItGivesUp leaves nobody logged in without a heart.
func TestDial_LogsOutOfALoginThatItGivesUp(t *testing.T) {
	for name, fault := range map[string]func(*faults){
		"answer lost":  func(f *faults) { f.loginLost = true },
		"no heartbeat": func(f *faults) { f.mute = true },
		"no stream":    func(f *faults) { f.attach = gulmerr.ErrUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, c *fakeCluster) {
				c.with(fault)
				ctx := shortly(t, 10*time.Second)
				context.AfterFunc(ctx, func() { c.with(func(f *faults) { *f = faults{} }) })
				_, err := Dial(ctx, c.config("n1"))
				wantErr(t, err, context.DeadlineExceeded)
				synctest.Wait()
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, s := range c.sessions {
					if s.over == nil {
						t.Fatalf("session %d is still logged in", s.number)
					}
				}
				if c.logouts == 0 {
					t.Fatal("nothing was logged out")
				}
			})
		})
	}
}

func TestDial_LearnsOnlyLoopbackInPlainText(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		n.servers.learn(&gulmv1.ServerAddress{Address: "10.0.0.1:40040"}, &gulmv1.ServerAddress{Address: "127.0.0.7:40040"})
		if known := n.servers.known(); len(known) != 2 || known[1] != "127.0.0.7:40040" {
			t.Fatalf("knows %v", known)
		}
		if _, err := newConn(&n.cfg, "10.0.0.1:40040"); !errors.Is(err, ErrInvalid) {
			t.Fatalf("connects in plain text: %v", err)
		}
		c.cut(gulmerr.NotMaster("lk9", "10.0.0.1:40040"))
		time.Sleep(time.Minute)
		if n.Master() != c.addr(0) {
			t.Fatalf("master is %q", n.Master())
		}
	})
}

func TestNode_LogoutReleasesEverything(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		l := mustLock(t, ls, "r", EX)
		held := l.Context()
		waiting := make(chan error, 1)
		go func() { waiting <- errOf(ls.Lock(t.Context(), "r", EX)) }()
		synctest.Wait()
		if err := n.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, <-waiting, ErrClosed)
		wantErr(t, context.Cause(held), ErrClosed)
		wantErr(t, l.Valid(), ErrClosed)
		wantErr(t, l.Unlock(), ErrClosed)
		wantErr(t, n.Logout(t.Context()), ErrClosed)
		<-n.Lost()
		if c.left() != 0 || n.State() != StateClosed || n.Close() != nil {
			t.Fatalf("%d locks are left, state %v", c.left(), n.State())
		}
		for range n.Events() { // ends, since the channel is closed
		}
	})
}

func errOf(_ *Lock, err error) error { return err }

// TestNode_LogoutFollowsTheMaster logs out while there is no master, and stays
// alive for the servers meanwhile.
func TestNode_LogoutFollowsTheMaster(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		mustLock(t, joinSpace(t, n), "r", EX)
		c.elect("")
		time.AfterFunc(10*time.Second, func() { c.elect(c.addr(2)) })
		if err := n.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.left() != 0 {
			t.Fatal("locks are left")
		}
	})
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		c.elect("")
		wantErr(t, n.Logout(shortly(t, 10*time.Second)), ErrNoQuorum)
		wantErr(t, n.Err(), ErrClosed)
	})
}

// TestNode_BeatsUntilLoggedOut: the servers must not expire a node that is
// waiting for its logout to be answered.
func TestNode_BeatsUntilLoggedOut(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		c.mu.Lock()
		c.faults.locate = func(string) *gulmv1.LocateReply { return &gulmv1.LocateReply{Cluster: fakeClusterName} }
		c.mu.Unlock()
		wantErr(t, n.Logout(shortly(t, 20*time.Second)), ErrNoQuorum)
		if silent := time.Since(c.newestBeat()); silent > c.expiry/2 {
			t.Fatalf("the node was silent for %v while it logged out", silent)
		}
	})
}

// TestNode_CloseLeavesTheServersAlone ends like a crash.
func TestNode_CloseLeavesTheServersAlone(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		l := mustLock(t, joinSpace(t, n), "r", EX)
		_ = n.Close()
		wantErr(t, l.Valid(), ErrClosed)
		wantErr(t, n.Logout(t.Context()), ErrClosed)
		if c.left() != 1 || c.logouts != 0 {
			t.Fatal("Close talked to the servers")
		}
	})
}

func TestTypes_HaveNames(t *testing.T) {
	for m := NL; m <= EX; m++ {
		if back, err := ParseMode(m.String()); err != nil || back != m {
			t.Errorf("%v came back as %v: %v", m, back, err)
		}
	}
	_, err := ParseMode("XX")
	wantErr(t, err, ErrInvalid)
	for s := StateSafe; s <= StateClosed; s++ {
		if strings.Contains(s.String(), "(") {
			t.Errorf("state %d has no name", s)
		}
	}
	for k := EventJeopardy; k <= EventDisconnected; k++ {
		if strings.Contains(k.String(), "(") {
			t.Errorf("event %d has no name", k)
		}
	}
	for _, s := range []string{Mode(9).String(), State(9).String(), EventKind(0).String()} {
		if !strings.Contains(s, "(") {
			t.Errorf("an unknown value prints as %s", s)
		}
	}
}

// TestModes_MeetAndJoin compares with the compatibility table: what both modes
// cover conflicts with no more than either, what covers both with no less.
func TestModes_MeetAndJoin(t *testing.T) {
	conflicts := func(m Mode) (set int) {
		for o := NL; o <= EX; o++ {
			if !compatible[m][o] {
				set |= 1 << o
			}
		}
		return set
	}
	for a := NL; a <= EX; a++ {
		for b := NL; b <= EX; b++ {
			if got := conflicts(meet(a, b)); got&^conflicts(a) != 0 || got&^conflicts(b) != 0 {
				t.Errorf("meet(%v, %v) = %v", a, b, meet(a, b))
			}
			if got := conflicts(join(a, b)); conflicts(a)&^got != 0 || conflicts(b)&^got != 0 {
				t.Errorf("join(%v, %v) = %v", a, b, join(a, b))
			}
		}
	}
}
