package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"go.etcd.io/bbolt"
)

// Names inside the data folder.
const (
	lockFile      = "lock"
	stableFile    = "stable.bolt" // term, vote, identity
	boltLogFile   = "log.bolt"
	walFolder     = "log.wal"
	snapFolder    = "snapshots" // named by raft
	identityFile  = "identity.json"
	peersFile     = "peers.json"
	snapRetain    = 2
	boltOpenLimit = 5 * time.Second
)

// disk is everything that one server keeps.
type disk struct {
	name   string // for messages: the folder
	log    logStore
	stable raft.StableStore
	snaps  raft.SnapshotStore
	names  func() ([]string, error) // names of all finished snapshots, readable or not
	files  smallFiles
	close  func() error
}

// smallFiles keeps files of a few kilobytes, each replaced as a whole.
type smallFiles interface {
	// load returns nil when there is no such file.
	load(name string) ([]byte, error)
	// save returns when the file is durable.
	save(name string, data []byte) error
}

func openDisk(cfg Config, rl hclog.Logger) (*disk, error) {
	if cfg.Memory != nil {
		return cfg.Memory.open()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	var closers closeList
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	closers.add(lock.Close)
	if err := checkSpace(cfg); err != nil {
		return nil, errors.Join(err, closers.close())
	}
	d := &disk{name: cfg.Dir, files: folder(cfg.Dir), close: closers.close}
	if err := d.openStores(cfg, rl, &closers); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", cfg.Dir, err), closers.close())
	}
	d.close = closers.close
	return d, nil
}

func (d *disk) openStores(cfg Config, rl hclog.Logger, closers *closeList) error {
	stable, err := openBolt(filepath.Join(cfg.Dir, stableFile))
	if err != nil {
		return fmt.Errorf("store of term and vote: %w", err)
	}
	closers.add(stable.Close)
	d.stable = stable
	if err := sameLogStore(cfg); err != nil {
		return err
	}
	switch cfg.LogStore {
	case LogStoreBolt:
		s, err := openBolt(filepath.Join(cfg.Dir, boltLogFile))
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		closers.add(s.Close)
		d.log = s
	default:
		path := filepath.Join(cfg.Dir, walFolder)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		meta := &metadb.BoltMetaDB{}
		closers.add(meta.Close) // raft-wal leaves it open and locked
		s, err := wal.Open(path, wal.WithLogger(rl), wal.WithMetaStore(meta))
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		closers.add(s.Close)
		d.log = s
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapRetain, rl)
	if err != nil {
		return err
	}
	d.snaps = snaps
	d.names = func() ([]string, error) { return snapshotNames(filepath.Join(cfg.Dir, snapFolder)) }
	return syncFolder(cfg.Dir)
}

// sameLogStore refuses to begin a second log beside the one in use.
func sameLogStore(cfg Config) error {
	other, otherName := walFolder, LogStoreWAL
	if cfg.LogStore == LogStoreWAL {
		other, otherName = boltLogFile, LogStoreBolt
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, other)); err == nil {
		return fmt.Errorf("the log is kept in store %q, the configuration says %q: change it back, or re-admit this server with an empty folder", otherName, cfg.LogStore)
	}
	return nil
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		// The list of free pages is rebuilt when the file is opened.
		BoltOptions: &bbolt.Options{Timeout: boltOpenLimit, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
}

// snapshotNames lists the finished snapshots in path.
func snapshotNames(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// lockFolder keeps a second process away from dir for as long as the file is open.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: another process has locked %s; is lock_gulmd running already?", ErrLocked, dir)
	}
	return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
}

func checkSpace(cfg Config) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(cfg.Dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", cfg.Dir, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < cfg.MinFree {
		return fmt.Errorf("only %d MiB are free in %s, at least %d MiB are needed: make room and start again", free>>20, cfg.Dir, cfg.MinFree>>20)
	}
	if free < cfg.WarnFree {
		cfg.Log.Warn("little space left in the data folder", slog.String("dir", cfg.Dir), slog.Uint64("free_mib", free>>20))
	}
	return nil
}

// folder keeps small files in a directory.
type folder string

func (f folder) load(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(f), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (f folder) save(name string, data []byte) error {
	path := filepath.Join(string(f), name)
	tmp, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncFolder(string(f))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// closeList closes in reverse order.
type closeList struct{ fns []func() error }

func (c *closeList) add(f func() error) { c.fns = append(c.fns, f) }

func (c *closeList) close() error {
	var errs []error
	for i := len(c.fns) - 1; i >= 0; i-- {
		errs = append(errs, c.fns[i]())
	}
	c.fns = nil
	return errors.Join(errs...)
}
