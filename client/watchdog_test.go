package client

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/proto/gulmerr"
)

// fakeDog is a watchdog that notes what is done to it.
type fakeDog struct {
	timeout time.Duration

	mu            sync.Mutex
	feeds         []time.Time
	disarmed, let time.Time // when that happened
}

// note adds the time to what is noted.
func (d *fakeDog) note(add func(now time.Time)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(time.Now())
	return nil
}

func (d *fakeDog) feed() error   { return d.note(func(now time.Time) { d.feeds = append(d.feeds, now) }) }
func (d *fakeDog) disarm() error { return d.note(func(now time.Time) { d.disarmed = now }) }
func (d *fakeDog) leave() error  { return d.note(func(now time.Time) { d.let = now }) }

// last returns when it was fed last.
func (d *fakeDog) last() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.feeds[len(d.feeds)-1]
}

// fires returns when it has reset the machine, the zero time if it was always fed
// in time until it was disarmed, or until now.
func (d *fakeDog) fires() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := time.Now()
	if !d.disarmed.IsZero() {
		end = d.disarmed
	}
	last := d.feeds[0]
	for _, at := range append(slices.Clone(d.feeds), end) {
		if at.Sub(last) > d.timeout {
			return last.Add(d.timeout)
		}
		last = at
	}
	return time.Time{}
}

// guarded is a configuration with a watchdog of 10 s.
func guarded(c *fakeCluster) (Config, *fakeDog) {
	d := &fakeDog{}
	cfg := c.config("n1")
	cfg.Watchdog = Watchdog{Path: "/dev/watchdog"}
	cfg.arm = func(_ string, want time.Duration) (dog, time.Duration, error) {
		d.timeout = want
		return d, want, d.feed()
	}
	return cfg, d
}

func dialGuarded(t *testing.T, c *fakeCluster) (*Node, *fakeDog) {
	t.Helper()
	cfg, d := guarded(c)
	n, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n, d
}

// told returns what a session said of its watchdog.
func (c *fakeCluster) told(session uint64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.sessions[session].watchdog) * time.Millisecond
}

// TestWatchdog_FedWhileGood: a good node is never reset, and a clean logout
// disarms.
func TestWatchdog_FedWhileGood(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n, d := dialGuarded(t, c)
		if told := c.told(n.Session()); told != 2*DefaultWatchdogTimeout || d.timeout != DefaultWatchdogTimeout {
			t.Fatalf("armed for %v, the servers were told %v", d.timeout, told)
		}
		mustLock(t, joinSpace(t, n), "r", EX)
		time.Sleep(time.Hour)
		c.stop(c.addr(0)) // jeopardy, but not lost
		time.Sleep(2 * time.Second)
		c.start(c.addr(0))
		time.Sleep(time.Hour)
		if err := n.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at := d.fires(); !at.IsZero() || d.disarmed.IsZero() || !d.let.IsZero() {
			t.Fatalf("fires at %v, disarmed at %v, left at %v", at, d.disarmed, d.let)
		}
		time.Sleep(time.Hour)
		if len(d.feeds) > 4*2*360+20 {
			t.Fatalf("%d feeds", len(d.feeds))
		}
	})
}

// TestWatchdog_LostIsReset: a node that the servers do not answer is not fed after
// its locks are lost, so that it is reset within the time that they were told.
func TestWatchdog_LostIsReset(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n, d := dialGuarded(t, c)
		time.Sleep(time.Minute)
		c.with(func(f *faults) { f.mute = true })
		newest := c.newestBeat()
		<-n.Lost()
		lost := time.Now()
		time.Sleep(time.Minute)
		last := d.last()
		if at := d.fires(); !last.Before(lost) || at.IsZero() || at.After(newest.Add(c.expiry+c.told(n.Session()))) {
			t.Fatalf("last fed %v before it was lost, and fires at %v", lost.Sub(last), at)
		}
		// Too late for a logout: the servers may rely on the reset by now.
		c.with(func(f *faults) { f.mute = false })
		if err := n.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !d.disarmed.IsZero() || d.let.IsZero() {
			t.Fatal("a machine that has to be reset was disarmed")
		}
	})
}

// TestWatchdog_EndsWithTheNode: whatever ends the node without the servers' word
// leaves the watchdog armed and unfed.
func TestWatchdog_EndsWithTheNode(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fakeCluster, *Node){
		"close":   func(_ *testing.T, _ *fakeCluster, n *Node) { _ = n.Close() },
		"expired": func(_ *testing.T, c *fakeCluster, n *Node) { c.expireNode("n1"); <-n.dead },
		"logout without servers": func(t *testing.T, c *fakeCluster, n *Node) {
			c.stop(c.addr(0))
			if n.Logout(shortly(t, 3*time.Second)) == nil {
				t.Error("logged out without servers")
			}
		},
		"logout that takes too long": func(t *testing.T, c *fakeCluster, n *Node) {
			c.stop(c.addr(0))
			time.AfterFunc(time.Minute, func() { c.start(c.addr(0)) })
			if err := n.Logout(t.Context()); err != nil {
				t.Error(err)
			}
		},
	} {
		bubble(t, 1, func(t *testing.T, c *fakeCluster) {
			n, d := dialGuarded(t, c)
			time.Sleep(time.Minute)
			begin := time.Now()
			end(t, c, n)
			time.Sleep(time.Minute)
			if at := d.fires(); at.IsZero() || at.After(begin.Add(c.expiry+2*d.timeout)) || !d.disarmed.IsZero() {
				t.Errorf("%s: fires at %v, disarmed at %v", name, at, d.disarmed)
			}
			_ = n.Close()
			if d.let.IsZero() {
				t.Errorf("%s: the device is still open", name)
			}
		})
	}
}

// TestWatchdog_Sick: a node that cannot work is not fed, even while its newest
// beat is still good.
func TestWatchdog_Sick(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg, d := guarded(c)
		b := &brittle{}
		cfg.Probes = []Probe{{Name: "work", Run: b.run, Every: 2 * time.Second, Limit: time.Second, Bound: 8 * time.Second}}
		n, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		time.Sleep(time.Minute)
		b.broken.Store(true)
		for n.State() == StateSafe {
			time.Sleep(10 * time.Millisecond)
		}
		sick := time.Now()
		time.Sleep(time.Minute)
		if last := d.last(); last.After(sick) || d.fires().IsZero() {
			t.Fatalf("fed %v after it was sick", last.Sub(sick))
		}
	})
}

// TestWatchdog_Dial: whatever goes wrong, nobody is told of a watchdog that is not
// armed, and none stays armed that nobody was told of.
func TestWatchdog_Dial(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg, _ := guarded(c)
		cfg.arm = func(string, time.Duration) (dog, time.Duration, error) { return nil, 0, os.ErrNotExist }
		_, err := Dial(t.Context(), cfg)
		wantErr(t, err, os.ErrNotExist)
		if c.logouts != 1 || c.told(1) != 0 {
			t.Fatalf("%d logouts, the servers were told %v", c.logouts, c.told(1))
		}

		cfg, d := guarded(c)
		arm := cfg.arm
		cfg.arm = func(path string, want time.Duration) (dog, time.Duration, error) {
			c.with(func(f *faults) { f.login = gulmerr.ErrLimit })
			return arm(path, want)
		}
		_, err = Dial(t.Context(), cfg)
		wantErr(t, err, gulmerr.ErrLimit)
		if d.disarmed.IsZero() || !d.fires().IsZero() || c.logouts != 2 {
			t.Fatalf("disarmed at %v, %d logouts", d.disarmed, c.logouts)
		}

		cfg.Watchdog.Timeout = time.Millisecond
		_, err = Dial(t.Context(), cfg)
		wantErr(t, err, ErrInvalid)
	})
}

// TestWatchdog_OtherSession: the session ended while its watchdog was armed, and
// the login that tells of it begins another one, which must not live.
func TestWatchdog_OtherSession(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg, d := guarded(c)
		arm := cfg.arm
		cfg.arm = func(path string, want time.Duration) (dog, time.Duration, error) {
			c.mu.Lock()
			c.sessions[1].loginID = "fenced and forgotten"
			c.mu.Unlock()
			return arm(path, want)
		}
		_, err := Dial(t.Context(), cfg)
		wantErr(t, err, ErrNoSession)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !d.disarmed.IsZero() || d.fires().IsZero() {
			t.Fatal("the watchdog of a life that is over was disarmed")
		}
	})
}

// TestArmWatchdog uses a file in the device's place.
func TestArmWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog")
	if _, _, err := armWatchdog(path, time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without a device: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for clean, want := range map[bool]string{true: "..V", false: ".."} {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		d, timeout, err := armWatchdog(path, 7*time.Second)
		if err != nil || timeout != 7*time.Second {
			t.Fatalf("%v, %v", timeout, err)
		}
		if err := errors.Join(d.feed(), d.feed()); err != nil {
			t.Fatal(err)
		}
		end := d.leave
		if clean {
			end = d.disarm
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(text)) != want {
			t.Fatalf("the device was told %q, want %q (%v)", text, want, err)
		}
	}
}
