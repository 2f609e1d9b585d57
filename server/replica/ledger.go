package replica

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
)

// ledger remembers, durably, which disk each peer had.
type ledger struct {
	files smallFiles
	mu    sync.Mutex
	known map[string]remembered
}

// remembered is the newest life of a peer's disk that this server has seen.
type remembered struct {
	Generation string `json:"generation"`
	Starts     uint64 `json:"starts"`
	Life       string `json:"life"`
}

func openLedger(d *disk) (*ledger, error) {
	l := &ledger{files: d.files, known: map[string]remembered{}}
	b, err := d.files.load(peersFile)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return l, nil
	}
	if err := json.Unmarshal(b, &l.known); err != nil {
		return nil, d.damaged("%s cannot be read: %w", peersFile, err)
	}
	return l, nil
}

// admit compares a peer's disk with the one remembered and remembers its newest
// life. A refusal is a verdict other than OK; an error says that the ledger
// could not be written, and then the peer must not be let in either.
func (l *ledger) admit(h hello) (verdict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := remembered{
		Generation: hex.EncodeToString(h.Generation[:]),
		Starts:     h.Starts,
		Life:       hex.EncodeToString(h.Lives[0][:]),
	}
	was, ok := l.known[h.Server]
	if ok && was == now {
		return verdict{}, nil
	}
	if ok {
		if v := compare(was, now, h); v.Code != verdictOK {
			return v, nil
		}
	}
	l.known[h.Server] = now
	if err := l.save(); err != nil {
		if ok {
			l.known[h.Server] = was
		} else {
			delete(l.known, h.Server)
		}
		return verdict{}, err
	}
	return verdict{}, nil
}

// compare tells a disk that has lived on from another one and from an old copy.
func compare(was, now remembered, h hello) verdict {
	const cure = "; stop it and re-admit it as a new server (see the manual, re-admission)"
	if was.Generation != now.Generation {
		return verdict{verdictNewDisk, fmt.Sprintf("server %s has a new or replaced disk%s", h.Server, cure)}
	}
	old := verdict{verdictOldDisk, fmt.Sprintf("server %s runs on a restored or copied disk (start %d, known is start %d)%s", h.Server, now.Starts, was.Starts, cure)}
	if now.Starts <= was.Starts {
		return old
	}
	back := now.Starts - was.Starts
	if back >= uint64(len(h.Lives)) {
		return verdict{verdictOldDisk, fmt.Sprintf("server %s was started %d times since it was last seen, too often to tell its disk from a copy%s", h.Server, back, cure)}
	}
	if hex.EncodeToString(h.Lives[back][:]) != was.Life {
		return old
	}
	return verdict{}
}

// forget makes the next disk that peer shows the right one.
func (l *ledger) forget(peer string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.known[peer]
	if !ok {
		return nil
	}
	delete(l.known, peer)
	if err := l.save(); err != nil {
		l.known[peer] = was
		return err
	}
	return nil
}

func (l *ledger) save() error {
	return saveJSON(l.files, peersFile, l.known)
}
