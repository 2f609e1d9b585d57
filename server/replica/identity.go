package replica

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// maxLives is how many of a disk's lives are remembered and shown to peers.
const maxLives = 200

// generationKey holds the disk's generation in the log store and in the store of
// term and vote, so that no part of the folder can be swapped alone.
var generationKey = []byte("gulm/generation")

// generation is drawn once for an empty disk.
type generation [16]byte

// life is drawn at each start.
type life [8]byte

// identity is what a disk says about itself. A peer remembers the newest life
// it has seen; a disk that cannot show that life among its own is another disk
// or an old copy.
type identity struct {
	Cluster      string   `json:"cluster"`
	Server       string   `json:"server"`
	Generation   string   `json:"generation"`
	Starts       uint64   `json:"starts"`
	Lives        []string `json:"lives"` // newest first; Lives[0] belongs to start number Starts
	Bootstrapped bool     `json:"bootstrapped"`
}

func (id *identity) generation() (g generation) {
	b, _ := hex.DecodeString(id.Generation)
	copy(g[:], b)
	return g
}

func (id *identity) lives() []life {
	out := make([]life, len(id.Lives))
	for i, s := range id.Lives {
		b, _ := hex.DecodeString(s)
		copy(out[i][:], b)
	}
	return out
}

func (id *identity) save(f smallFiles) error {
	return saveJSON(f, identityFile, id)
}

// saveJSON writes v to the small file name, for programs and people.
func saveJSON(f smallFiles, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := f.save(name, append(b, '\n')); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// randomHex returns n random bytes in hexadecimal. crypto/rand never fails.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// damaged is an error that tells the operator the only safe way on.
func (d *disk) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w; stop this server, move the folder away (keep it for analysis) and re-admit the server with an empty folder",
		ErrDamaged, d.name, fmt.Errorf(format, args...))
}

// bindIdentity reads who this disk is, or gives an empty one its identity, and
// begins a new life. Nothing is written when it refuses.
func bindIdentity(cfg Config, d *disk) (*identity, error) {
	raw, err := d.files.load(identityFile)
	if err != nil {
		return nil, err
	}
	hasState, err := raft.HasExistingState(d.log, d.stable, d.snaps)
	if err != nil {
		return nil, err
	}
	marks, err := d.marks()
	if err != nil {
		return nil, err
	}
	if raw == nil {
		if hasState || marks[0] != "" || marks[1] != "" {
			return nil, d.damaged("%s is missing", identityFile)
		}
		id := &identity{Cluster: cfg.Cluster, Server: cfg.Server, Generation: randomHex(len(generation{}))}
		return id, id.begin(d)
	}
	id := &identity{}
	if err := json.Unmarshal(raw, id); err != nil || !id.wellFormed() {
		return nil, d.damaged("%s cannot be read (%v)", identityFile, err)
	}
	if id.Cluster != cfg.Cluster || id.Server != cfg.Server {
		return nil, fmt.Errorf("%s belongs to server %s of cluster %s, not to server %s of cluster %s: correct the names or the folder in the configuration",
			d.name, id.Server, id.Cluster, cfg.Server, cfg.Cluster)
	}
	if err := id.matches(d, hasState, marks); err != nil {
		return nil, err
	}
	return id, id.begin(d)
}

func (id *identity) wellFormed() bool {
	g, err := hex.DecodeString(id.Generation)
	ok := err == nil && len(g) == len(generation{}) && id.Starts > 0 && len(id.Lives) > 0 && len(id.Lives) <= maxLives
	for _, s := range id.Lives {
		b, err := hex.DecodeString(s)
		ok = ok && err == nil && len(b) == len(life{})
	}
	return ok
}

// marks returns the generations noted in the store of term and vote and in the log.
func (d *disk) marks() ([2]string, error) {
	var out [2]string
	for i, s := range []raft.StableStore{d.stable, d.log} {
		b, err := s.Get(generationKey)
		if err != nil && !absent(err) {
			return out, err
		}
		out[i] = string(b)
	}
	return out, nil
}

// matches reports whether all parts of the folder belong together.
func (id *identity) matches(d *disk, hasState bool, marks [2]string) error {
	for i, what := range []string{"the store of term and vote", "the log"} {
		if marks[i] != id.Generation && (marks[i] != "" || id.Bootstrapped) {
			return d.damaged("%s is not the one that %s knows", what, identityFile)
		}
	}
	if !id.Bootstrapped {
		return nil
	}
	if !hasState {
		return d.damaged("term and vote are gone")
	}
	return d.checkReach()
}

// checkReach reports whether log and snapshots together reach back to the first
// entry.
func (d *disk) checkReach() error {
	first, err := d.log.FirstIndex()
	if err != nil {
		return err
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	newest, err := newestSnapshot(names)
	if err != nil {
		return d.damaged("%w", err)
	}
	var snapIndex uint64
	if newest != "" {
		if _, snapIndex, _, err = parseSnapshotName(newest); err != nil {
			return d.damaged("%w", err)
		}
	}
	switch {
	case first == 0 && newest == "":
		return d.damaged("the log is empty")
	case first > snapIndex+1:
		return d.damaged("the log begins at entry %d, no snapshot covers what came before", first)
	}
	return nil
}

// begin starts a new life and notes the generation everywhere.
func (id *identity) begin(d *disk) error {
	id.Starts++
	id.Lives = append([]string{randomHex(len(life{}))}, id.Lives...)
	id.Lives = id.Lives[:min(len(id.Lives), maxLives)]
	if err := id.save(d.files); err != nil {
		return err
	}
	if id.Bootstrapped {
		return nil
	}
	return errors.Join(d.stable.Set(generationKey, []byte(id.Generation)), d.log.Set(generationKey, []byte(id.Generation)))
}

// verifyData checks the newest snapshot and every entry behind it before raft
// sees them: raft would fall back to an older snapshot in silence and then panic.
func (d *disk) verifyData() error {
	names, err := d.names()
	if err != nil {
		return err
	}
	newest, err := newestSnapshot(names)
	if err != nil {
		return d.damaged("%w", err)
	}
	var snapIndex uint64
	if newest != "" {
		if err := (&snapStore{d.snaps}).verify(newest); err != nil {
			return d.damaged("snapshot %s: %w", newest, err)
		}
		if _, snapIndex, _, err = parseSnapshotName(newest); err != nil {
			return err
		}
	}
	return d.verifyLog(snapIndex)
}

func (d *disk) verifyLog(snapIndex uint64) error {
	first, err := d.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := d.log.LastIndex()
	if err != nil {
		return err
	}
	if last == 0 {
		return nil
	}
	var term uint64
	for i := max(first, snapIndex+1); i <= last; i++ {
		var l raft.Log
		if err := d.log.GetLog(i, &l); err != nil {
			return d.damaged("entry %d cannot be read: %w", i, err)
		}
		if l.Index != i || l.Term < term {
			return d.damaged("entry %d claims to be entry %d of term %d", i, l.Index, l.Term)
		}
		if err := checkEntry(&l); err != nil {
			return d.damaged("%w", err)
		}
		term = l.Term
	}
	return nil
}
