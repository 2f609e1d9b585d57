package gulmtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// ErrFenced is returned for a write of an incarnation that is dead. It is no
// violation: a machine without power cannot write, only the goroutine that
// stands for it has not noticed yet.
var ErrFenced = errors.New("this incarnation of the node is fenced")

// Holder is who claims a lock.
type Holder struct {
	// Node and Incarnation name one life of a machine. A node's incarnations
	// grow: fencing one fences all before it.
	Node        string
	Incarnation uint64
	// Owner tells apart several actors of one node, whose locks exclude each
	// other as those of different nodes do. May be empty.
	Owner string
}

// String returns node/incarnation and the owner, if any.
func (h Holder) String() string {
	s := fmt.Sprintf("%s/%d", h.Node, h.Incarnation)
	if h.Owner != "" {
		s += " " + h.Owner
	}
	return s
}

// Write is what an actor asks the disk to do because it believes to hold a lock.
type Write struct {
	Holder
	// Resource names the lock and, here, also what it protects.
	Resource string
	// Mode and Token are the ones with which the lock was granted.
	Mode  Mode
	Token uint64
	// Data replaces what the resource holds. Increment ignores it.
	Data []byte
}

// Disk is a shared disk that serves as the oracle of a test: it knows who holds
// what and flags every write that a correct lock service makes impossible. It
// never stops the test by itself, see Check.
//
// Actors tell the truth about their locks so that the time in which the disk
// believes in a lock lies within the time in which the servers do: Granted after
// the grant has arrived, Released before the unlock is sent, Granted with the
// weaker mode before a down-conversion is sent and with the stronger one after
// an up-conversion was granted. An actor that is told that its locks are lost
// calls Released.
//
// All methods may be called from any goroutine.
type Disk struct {
	start time.Time

	mu         sync.Mutex
	rand       *rand.Rand
	base       time.Duration
	jitter     time.Duration
	blocks     map[string]*block
	dead       map[string]uint64 // by node: the newest incarnation that cannot write
	reported   map[string]uint64 // by node: the newest whose fence was said to have succeeded
	journals   []*journalBlock   // by jid
	mounting   map[string]bool   // lives that have asked for a mount and do not know of it
	asks       map[string]int    // how often a life has asked for one
	cutReplays int               // replays that ended with their machine
	writes     int
	violations []Violation
	dropped    int // violations beyond maxViolations
}

// block is what the disk knows about one resource.
type block struct {
	resource   string
	holds      []hold
	active     []*operation // writes that have begun and not ended
	token      uint64       // newest of an exclusive holder
	tokenOf    Holder
	data       []byte
	counter    uint64
	increments uint64 // what counter should be
	history    []event
}

// hold is a lock that its holder knows to have.
type hold struct {
	Holder
	mode  Mode
	token uint64
	dead  bool // its machine has died, but nobody has proved that yet
}

// operation is a write that takes time.
type operation struct {
	Write
	takes   time.Duration
	counter uint64 // as read at the begin
	torn    bool   // its machine died before the end
	flagged bool   // as a write after the fence
}

// NewDisk returns an empty disk whose writes take no time. The jitter of
// SetLatency is drawn from a source made from seed.
func NewDisk(seed uint64) *Disk {
	return &Disk{
		start:    time.Now(),
		rand:     rand.New(rand.NewPCG(seed, hashOf("disk"))),
		blocks:   map[string]*block{},
		dead:     map[string]uint64{},
		reported: map[string]uint64{},
		mounting: map[string]bool{},
		asks:     map[string]int{},
	}
}

// SetLatency makes writes that begin from now on take base and up to jitter
// more. The longer they take, the more overlaps are seen.
func (d *Disk) SetLatency(base, jitter time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.jitter = base, jitter
}

// Granted tells that a lock is held from now on, or, if the holder has one on
// this resource already, that it was converted. A grant that is incompatible
// with another holder or with a write that is not over is flagged, as is an
// exclusive grant whose token is not newer than that of the exclusive holder
// before. Of a dead incarnation it is ignored.
func (d *Disk) Granted(h Holder, resource string, mode Mode, token uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.block(resource)
	if d.isDead(h) {
		b.note(h, "was granted %v with token %d, but is dead", mode, token)
		return
	}
	b.note(h, "was granted %v with token %d", mode, token)
	for _, other := range b.holds {
		if other.Holder == h || mode.Compatible(other.mode) {
			continue
		}
		if other.dead {
			d.flag(GrantBeforeFence, b, h, other.Holder, "%v was granted %v while %v died holding %v and is not fenced",
				h, mode, other.Holder, other.mode)
			continue
		}
		d.flag(HoldersOverlap, b, h, other.Holder, "%v was granted %v while %v holds %v", h, mode, other.Holder, other.mode)
	}
	d.checkActive(b, h, mode, "was granted")
	d.checkRecords(b, h, mode)
	d.checkToken(b, h, mode, token)
	b.drop(func(other hold) bool { return other.Holder == h })
	b.holds = append(b.holds, hold{Holder: h, mode: mode, token: token})
}

// Released tells that the holder does not rely on its lock any more. Without a
// lock it does nothing.
func (d *Disk) Released(h Holder, resource string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.block(resource)
	b.note(h, "released its lock")
	b.drop(func(other hold) bool { return other.Holder == h && !other.dead })
}

// Died tells that a machine, or its process, has ended by itself: no incarnation
// of the node up to this one writes any more, but nobody has proved it. Until
// Fenced or FenceReported, granting its locks to others is flagged.
func (d *Disk) Died(node string, incarnation uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill(node, incarnation, "died")
	if newest, ok := d.reported[node]; ok {
		d.dropDead(node, newest) // said before it was true
	}
}

// Fenced tells that the power of the node is really cut, at this moment. What
// its incarnations up to this one write is rejected from now on, writes that
// have not ended are lost, and their locks are free.
func (d *Disk) Fenced(node string, incarnation uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill(node, incarnation, "lost its power")
	d.dropDead(node, incarnation)
}

// FenceReported tells that a fence of the node was said to have succeeded (or
// an operator said so, or it was seen to have booted again). If it lives, its
// locks stay and every write of it is flagged.
func (d *Disk) FenceReported(node string, incarnation uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reported[node] = max(d.reported[node], incarnation)
	d.noteAll(Holder{Node: node, Incarnation: incarnation}, "was said to be fenced")
	d.dropDead(node, incarnation)
}

// Write replaces the data of a resource and returns when the disk has it. It
// returns ErrFenced, and nothing is written, if the writer's machine is dead or
// dies meanwhile. What it should not have been able to do, it does, but flagged.
func (d *Disk) Write(w Write) error {
	_, err := d.do(w, func(b *block, op *operation) { b.data = bytes.Clone(op.Data) })
	return err
}

// Increment reads a counter that every resource has, and writes one more after
// the time that a write takes; it returns the new value. Two that overlap lose
// one increment, which is flagged even if the overlap was not. It needs PW or
// EX, otherwise it is flagged. Errors are those of Write.
func (d *Disk) Increment(w Write) (uint64, error) {
	op, err := d.do(w, func(b *block, op *operation) {
		b.counter = op.counter + 1
		b.increments++
		if b.counter != b.increments {
			d.flag(LostIncrement, b, op.Holder, Holder{}, "%v wrote %d as the counter's %dth increment", op.Holder, b.counter, b.increments)
			b.increments = b.counter // once is enough
		}
		if !op.Mode.Exclusive() {
			d.flag(WriteWithoutLock, b, op.Holder, Holder{}, "%v incremented the counter with %v, which other writers may hold too", op.Holder, op.Mode)
		}
	})
	if err != nil {
		return 0, err
	}
	return op.counter + 1, nil
}

// Contents returns a resource's data and counter, without asking for a lock.
func (d *Disk) Contents(resource string) (data []byte, counter uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.block(resource)
	return bytes.Clone(b.data), b.counter
}

// Writes returns how many writes and increments have succeeded. A test whose
// disk has none has shown nothing.
func (d *Disk) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// do runs one write from begin to end; finish takes effect at the end.
func (d *Disk) do(w Write, finish func(*block, *operation)) (*operation, error) {
	op, err := d.begin(w)
	if err != nil {
		return nil, err
	}
	if op.takes > 0 {
		time.Sleep(op.takes)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.block(w.Resource)
	b.active = slices.DeleteFunc(b.active, func(other *operation) bool { return other == op })
	if op.torn {
		return nil, fmt.Errorf("%v, while writing %s: %w", w.Holder, w.Resource, ErrFenced)
	}
	d.checkReported(b, op)
	finish(b, op)
	d.writes++
	b.note(w.Holder, "finished its write")
	return op, nil
}

func (d *Disk) begin(w Write) (*operation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.block(w.Resource)
	if d.isDead(w.Holder) {
		b.note(w.Holder, "tried to write, but is dead")
		return nil, fmt.Errorf("%v, writing %s: %w", w.Holder, w.Resource, ErrFenced)
	}
	b.note(w.Holder, "began to write with %v and token %d", w.Mode, w.Token)
	op := &operation{Write: w, takes: d.base, counter: b.counter}
	if d.jitter > 0 {
		op.takes += time.Duration(d.rand.Int64N(int64(d.jitter) + 1))
	}
	d.checkReported(b, op)
	d.checkClaim(b, w)
	d.checkHolders(b, w)
	d.checkActive(b, w.Holder, w.Mode, "began to write with")
	b.active = append(b.active, op)
	return op, nil
}

// checkReported flags a write of an incarnation that counts as fenced, once.
func (d *Disk) checkReported(b *block, op *operation) {
	newest, ok := d.reported[op.Node]
	if !ok || op.Incarnation > newest || op.flagged {
		return
	}
	op.flagged = true
	d.flag(WriteAfterFence, b, op.Holder, Holder{}, "%v wrote after its fence was said to have succeeded", op.Holder)
}

// checkClaim flags a write without the lock that it claims.
func (d *Disk) checkClaim(b *block, w Write) {
	i := slices.IndexFunc(b.holds, func(h hold) bool { return h.Holder == w.Holder })
	switch {
	case !w.Mode.Writes():
		d.flag(WriteWithoutLock, b, w.Holder, Holder{}, "%v wrote with %v, which does not allow it", w.Holder, w.Mode)
	case i < 0:
		d.flag(WriteWithoutLock, b, w.Holder, Holder{}, "%v wrote with %v and token %d but holds nothing", w.Holder, w.Mode, w.Token)
	case b.holds[i].mode != w.Mode || b.holds[i].token != w.Token:
		d.flag(WriteWithoutLock, b, w.Holder, Holder{}, "%v wrote with %v and token %d but holds %v with token %d",
			w.Holder, w.Mode, w.Token, b.holds[i].mode, b.holds[i].token)
	}
	if w.Mode.Exclusive() && w.Token < b.token {
		d.flag(TokenBackwards, b, w.Holder, b.tokenOf, "%v wrote with token %d after %v had %d", w.Holder, w.Token, b.tokenOf, b.token)
	}
}

// checkHolders flags a write beside an incompatible holder.
func (d *Disk) checkHolders(b *block, w Write) {
	for _, other := range b.holds {
		if other.Holder != w.Holder && !w.Mode.Compatible(other.mode) {
			d.flag(WriteOverlap, b, w.Holder, other.Holder, "%v wrote with %v while %v holds %v", w.Holder, w.Mode, other.Holder, other.mode)
		}
	}
}

// checkActive flags what h does beside an incompatible write that is not over.
func (d *Disk) checkActive(b *block, h Holder, mode Mode, does string) {
	for _, other := range b.active {
		if other.Holder != h && !other.torn && !mode.Compatible(other.Mode) {
			d.flag(WriteOverlap, b, h, other.Holder, "%v %s %v while %v is writing with %v", h, does, mode, other.Holder, other.Mode)
		}
	}
}

// checkToken flags an exclusive grant that storage could not tell from an older
// one, and remembers it.
func (d *Disk) checkToken(b *block, h Holder, mode Mode, token uint64) {
	if !mode.Exclusive() {
		return
	}
	if token < b.token || (token == b.token && h != b.tokenOf) {
		d.flag(TokenBackwards, b, h, b.tokenOf, "%v was granted %v with token %d after %v had %d", h, mode, token, b.tokenOf, b.token)
		return
	}
	b.token, b.tokenOf = token, h
}

func (d *Disk) block(resource string) *block {
	b := d.blocks[resource]
	if b == nil {
		b = &block{resource: resource}
		d.blocks[resource] = b
	}
	return b
}

func (d *Disk) isDead(h Holder) bool {
	newest, ok := d.dead[h.Node]
	return ok && h.Incarnation <= newest
}

// kill tears the writes of dead incarnations and marks their locks.
func (d *Disk) kill(node string, incarnation uint64, how string) {
	d.dead[node] = max(d.dead[node], incarnation)
	d.noteAll(Holder{Node: node, Incarnation: incarnation}, "%s", how)
	for _, b := range d.blocks {
		for i := range b.holds {
			b.holds[i].dead = b.holds[i].dead || d.isDead(b.holds[i].Holder)
		}
		for _, op := range b.active {
			op.torn = op.torn || d.isDead(op.Holder)
		}
	}
	d.killReplays()
}

// dropDead frees the locks of dead incarnations.
func (d *Disk) dropDead(node string, incarnation uint64) {
	for _, b := range d.blocks {
		b.drop(func(h hold) bool { return h.dead && h.Node == node && h.Incarnation <= incarnation })
	}
}

func (b *block) drop(which func(hold) bool) { b.holds = slices.DeleteFunc(b.holds, which) }
