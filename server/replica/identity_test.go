package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// countingHandler keeps the messages that are logged.
type countingHandler struct {
	mu   sync.Mutex
	msgs []string
}

func (h *countingHandler) logger() *slog.Logger { return slog.New(h) }

func (h *countingHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.msgs = append(h.msgs, r.Message)
	return nil
}

func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *countingHandler) WithGroup(string) slog.Handler { return h }

func (h *countingHandler) matching(s string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.msgs {
		if strings.Contains(m, s) {
			n++
		}
	}
	return n
}

// A wiped disk must not vote: it may have voted before. Here its vote alone
// would let the server that lacks a committed command win.
func TestGuardWipedDiskHasNoVote(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		t.Run(fmt.Sprint("guarded=", guarded), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, func(cfg *Config) { cfg.hooks.noHello = !guarded })
				defer c.close()
				m := c.leader()
				witness, behind := c.others(m)[0], c.others(m)[1]
				c.propose(m, "a")
				c.agree([]string{"a"})
				c.kill(behind.name)
				c.propose(m, "b") // on m and witness only
				c.kill(m.name)
				c.kill(witness.name)
				witness.disk = NewMemory()
				c.start(witness.name)
				c.start(behind.name)
				time.Sleep(time.Minute)
				lost := c.leader0() != nil
				if guarded && lost {
					t.Error("a wiped disk helped to elect a leader that lacks a committed command")
				}
				if !guarded && !lost {
					t.Error("the fault did not show without the guard")
				}
				if guarded {
					// The server that holds everything is enough, with the one behind.
					c.start(m.name)
					c.propose(c.leader(), "c")
					c.stop(witness.name)
					c.agree([]string{"a", "b", "c"})
				}
			})
		})
	}
}

func TestGuardRestoredDiskIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		old := c.others(m)[0]
		c.stop(old.name)
		backup := old.disk.Copy()
		c.start(old.name)
		c.propose(m, "a")
		c.agree([]string{"a"})
		c.kill(old.name)
		old.disk = backup
		for range 4 { // however often it is started
			c.start(old.name)
			time.Sleep(10 * time.Second)
			if got := old.tape.got(); len(got) != 0 {
				t.Fatalf("a restored copy takes part: %q", got)
			}
			c.stop(old.name)
		}
	})
}

// Two of three disks wiped at once: the survivor's word keeps the other two from
// founding a new cluster, as long as they hear it before they elect.
func TestWipedMajorityIsBarredByTheSurvivor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		c.propose(m, "a")
		c.agree([]string{"a"})
		for _, o := range c.others(m) {
			c.kill(o.name)
			o.disk = NewMemory()
		}
		for _, o := range []string{"lk1", "lk2", "lk3"} {
			if o != m.name {
				c.start(o)
				time.Sleep(10 * time.Second)
			}
		}
		time.Sleep(time.Minute)
		if n := c.leader0(); n != nil {
			t.Errorf("%s leads a cluster of wiped disks", n.name)
		}
	})
}

func TestFolderOfSomebodyElseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.propose(c.leader(), "a")
		c.close()
		for _, odd := range []func(*Config){
			func(cfg *Config) { cfg.Cluster = "beta" },
			func(cfg *Config) { cfg.Server, cfg.Servers = "lk9", []Peer{{"lk9", "lk9"}} },
		} {
			c.tune = odd
			if _, err := c.open("lk1"); err == nil || !strings.Contains(err.Error(), "belongs to server lk1 of cluster alpha") {
				t.Errorf("a folder of somebody else gave %v", err)
			}
		}
		c.tune = nil
		c.start("lk1")
		c.agree([]string{"a"})
		c.close()
	})
}

// Parts of the folder that are missing or of another disk are noticed.
func TestIncompleteFolderIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(m *Memory){
		"identity":      func(m *Memory) { delete(m.files, identityFile) },
		"identity torn": func(m *Memory) { m.files[identityFile] = m.files[identityFile][:20] },
		"log":           func(m *Memory) { clear(m.logs); m.first, m.last = 0, 0; clear(m.logKV) },
		"log emptied":   func(m *Memory) { clear(m.logs); m.first, m.last = 0, 0 },
		"log beheaded":  func(m *Memory) { delete(m.logs, 1); m.first = 2 },
		"stable":        func(m *Memory) { clear(m.stable) },
		"other log":     func(m *Memory) { m.logKV[string(generationKey)] = []byte("00") },
		"peers torn":    func(m *Memory) { m.files[peersFile] = []byte("{") },
		"bit in the log": func(m *Memory) {
			l := m.logs[m.last]
			l.Data = bytes.Clone(l.Data)
			l.Data[len(l.Data)-1] ^= 1
			m.logs[m.last] = l
		},
		"wrong entry": func(m *Memory) {
			l := m.logs[m.last]
			l.Index--
			m.logs[m.last] = l
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, nil)
				c.propose(c.leader(), "a")
				c.close()
				m := c.members["lk1"]
				spoil(m.disk)
				before := m.disk.Copy()
				_, err := c.open("lk1")
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "re-admit") {
					t.Fatalf("opened with %v", err)
				}
				if what != "bit in the log" && what != "wrong entry" && what != "peers torn" && !sameFiles(before, m.disk) {
					t.Error("refusing has changed the folder")
				}
			})
		})
	}
}

func sameFiles(a, b *Memory) bool {
	for k, v := range a.files {
		if !bytes.Equal(v, b.files[k]) {
			return false
		}
	}
	return len(a.files) == len(b.files)
}

func TestGuardFlippedCommandIsNeverApplied(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fatal := make(chan error, 1)
			m := &tape{}
			f := &fsm{machine: m, noCRC: !guarded, failed: func() bool { return len(fatal) > 0 }, fail: func(err error) { fatal <- err }}
			data := seal([]byte("grant alpha"))
			data[len(data)-1] ^= 0x10
			f.Apply(&raft.Log{Index: 7, Term: 2, Data: data})
			f.Apply(&raft.Log{Index: 8, Term: 2, Data: seal([]byte("next"))})
			if guarded && (len(m.got()) != 0 || len(fatal) != 1) {
				t.Errorf("a damaged command: applied %q, fatal %d", m.got(), len(fatal))
			}
			if !guarded && len(m.got()) != 2 {
				t.Errorf("without the guard %q were applied", m.got())
			}
		})
	}
}

// A bit that flips on one server's disk while it runs stops that server only.
func TestGuardFlippedEntryStaysOnItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		lag := c.others(m)[0]
		c.kill(lag.name)
		var want []string
		for i := range 2 * logCache { // beyond the cache: read from the disk
			want = append(want, fmt.Sprint("c", i))
			c.propose(m, want[i])
		}
		m.disk.mu.Lock()
		l := m.disk.logs[20]
		l.Data = bytes.Clone(l.Data)
		l.Data[len(l.Data)-1] ^= 1
		m.disk.logs[20] = l
		m.disk.mu.Unlock()
		c.start(lag.name)
		if err := <-m.fatal; !strings.Contains(err.Error(), "entry 20") {
			t.Errorf("Fatal was told %v", err)
		}
		c.leaderBut(m)
		c.stop(m.name)
		c.agree(want)
	})
}

func TestEnvelope(t *testing.T) {
	for _, cmd := range []string{"", "x", strings.Repeat("y", 1000)} {
		b := seal([]byte(cmd))
		got, err := unseal(b)
		if err != nil || string(got) != cmd {
			t.Errorf("%q came back as %q, %v", cmd, got, err)
		}
		for i := range b {
			for bit := range 8 {
				bad := bytes.Clone(b)
				bad[i] ^= 1 << bit
				if _, err := unseal(bad); err == nil {
					t.Errorf("bit %d of byte %d flipped unnoticed", bit, i)
				}
			}
		}
		if _, err := unseal(b[:min(len(b)-1, envelopeLen-1)]); err == nil {
			t.Error("a short command was accepted")
		}
	}
}

// realConfig is the configuration of a single server with real files.
func realConfig(t *testing.T, dir, store string) Config {
	return Config{
		Cluster: "alpha", Server: "lk1", Servers: []Peer{{"lk1", "lk1"}}, Dir: dir, LogStore: store,
		Stream:  newWire().listen("lk1"),
		Fatal:   func(err error) { t.Error("fatal:", err) },
		MinFree: 1, WarnFree: 1,
		HeartbeatTimeout: 50 * time.Millisecond, CommitTimeout: 5 * time.Millisecond,
	}
}

// write opens a replica, lets it lead and proposes commands.
func write(t *testing.T, cfg Config, commands ...string) *tape {
	t.Helper()
	m := &tape{}
	r, err := Open(cfg, m)
	must(t, err)
	for l := range r.Leadership() {
		if l.Leading {
			break
		}
	}
	must(t, r.Barrier(context.Background()))
	for _, c := range commands {
		f, err := r.Propose([]byte(c))
		must(t, err)
		_, _, err = f.Wait(context.Background())
		must(t, err)
	}
	must(t, r.Close(context.Background()))
	return m
}

func TestRealFiles(t *testing.T) {
	for _, store := range []string{LogStoreWAL, LogStoreBolt} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			write(t, realConfig(t, dir, store), "a", "b")
			m := write(t, realConfig(t, dir, store), "c")
			if got := m.got(); !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Errorf("after a restart the machine holds %q", got)
			}
			other := LogStoreBolt
			if store == LogStoreBolt {
				other = LogStoreWAL
			}
			if _, err := Open(realConfig(t, dir, other), &tape{}); err == nil || !strings.Contains(err.Error(), "change it back") {
				t.Errorf("another log store gave %v", err)
			}
		})
	}
}

func TestFolderIsLocked(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(realConfig(t, dir, LogStoreBolt), &tape{})
	must(t, err)
	if _, err := Open(realConfig(t, dir, LogStoreBolt), &tape{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second daemon in one folder: %v", err)
	}
	must(t, r.Close(context.Background()))
	write(t, realConfig(t, dir, LogStoreBolt), "a")
}

func TestSpaceIsChecked(t *testing.T) {
	cfg := realConfig(t, t.TempDir(), LogStoreBolt)
	cfg.MinFree = 1 << 62
	if _, err := Open(cfg, &tape{}); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("a full disk gave %v", err)
	}
}

// snapshotFolder writes a folder with a snapshot and returns it.
func snapshotFolder(t *testing.T) (dir, snap string) {
	dir = t.TempDir()
	m := &tape{}
	r, err := Open(realConfig(t, dir, LogStoreBolt), m)
	must(t, err)
	for l := range r.Leadership() {
		if l.Leading {
			break
		}
	}
	for _, c := range []string{"a", "b"} {
		f, err := r.Propose([]byte(c))
		must(t, err)
		_, _, err = f.Wait(context.Background())
		must(t, err)
	}
	must(t, r.raft.Snapshot().Error())
	must(t, r.Close(context.Background()))
	names, err := snapshotNames(filepath.Join(dir, snapFolder))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("snapshots: %q", names)
	}
	return dir, filepath.Join(dir, snapFolder, names[0])
}

func TestGuardDamagedSnapshotIsRefused(t *testing.T) {
	dir, snap := snapshotFolder(t)
	for _, file := range []string{"state.bin", "meta.json"} {
		path := filepath.Join(snap, file)
		good, err := os.ReadFile(path)
		must(t, err)
		harmless := 0
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 2
			must(t, os.WriteFile(path, bad, 0o600))
			if err := verifyFolder(t, dir); err == nil {
				harmless++
				if file == "state.bin" {
					t.Errorf("flipped bit in byte %d of %s went unnoticed", i, file)
				} else if !sameMeta(t, good, bad) {
					t.Errorf("flipped bit in byte %d of %s went unnoticed: %s", i, file, bad)
				}
			}
		}
		t.Logf("%s: %d of %d flips do not change its meaning", file, harmless, len(good))
		must(t, os.WriteFile(path, bytes.Clone(good[:len(good)/2]), 0o600))
		_, err = Open(realConfig(t, dir, LogStoreBolt), &tape{})
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "re-admit") {
			t.Errorf("half of %s gave %v", file, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("refusing has deleted something: %v", err)
		}
		must(t, os.WriteFile(path, good, 0o600))
	}
	m := write(t, realConfig(t, dir, LogStoreBolt), "c")
	if got := m.got(); !slices.Equal(got, []string{"a", "b", "c"}) || m.restores != 1 {
		t.Errorf("the mended folder gives %q after %d restores", got, m.restores)
	}
}

// verifyFolder checks a folder's snapshots as Open does, without the rest.
func verifyFolder(t *testing.T, dir string) error {
	t.Helper()
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapRetain, newRaftLogger(slog.New(slog.DiscardHandler)))
	must(t, err)
	d := &disk{name: dir, snaps: snaps, log: memLog{memKV{NewMemory(), nil}}}
	d.names = func() ([]string, error) { return snapshotNames(filepath.Join(dir, snapFolder)) }
	return d.verifyData()
}

// The fault without the guard: raft takes an older snapshot in silence.
func TestGuardRemovedRaftSkipsDamagedSnapshot(t *testing.T) {
	dir, snap := snapshotFolder(t)
	path := filepath.Join(snap, "state.bin")
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	must(t, os.Remove(filepath.Join(snap, "meta.json")))
	cfg := realConfig(t, dir, LogStoreBolt)
	cfg.hooks.noVerify = true
	r, err := Open(cfg, &tape{})
	must(t, err) // it starts, as if there had never been a snapshot
	must(t, r.Close(context.Background()))
}

func TestRestoreOfADamagedImageIsFatal(t *testing.T) {
	var fatal error
	f := &fsm{machine: &tape{}, failed: func() bool { return fatal != nil }, fail: func(err error) { fatal = err }}
	if err := f.Restore(io.NopCloser(strings.NewReader(frameMagic + "body"))); err == nil || fatal == nil {
		t.Errorf("restored with %v, fatal %v", err, fatal)
	}
	if err := f.Restore(io.NopCloser(strings.NewReader(""))); !errors.Is(err, errBadFrame) {
		t.Errorf("an older snapshot was tried: %v", err)
	}
}

// sameMeta reports whether two meta files mean the same to raft. Peers serves
// releases older than any of ours.
func sameMeta(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y struct {
		raft.SnapshotMeta
		CRC []byte
	}
	must(t, json.Unmarshal(a, &x))
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&y); err != nil {
		return false
	}
	x.Peers, y.Peers = nil, nil
	return reflect.DeepEqual(x, y)
}
