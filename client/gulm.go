package client

import (
	"context"
	"fmt"
	"slices"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// GulmFlag changes how a state is asked for from a Gulm. The flags may be combined
// with | or given one by one. The numbers are GULM's.
type GulmFlag uint32

const (
	// GulmTry: fail with ErrTryFailed instead of waiting.
	GulmTry = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_TRY)
	// GulmDoCB, with GulmTry: those in the way are asked to give way all the same.
	GulmDoCB = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_DO_CB)
	// GulmAny: shared or deferred, whichever can be had; Lock.Mode tells which.
	GulmAny = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_ANY)
	// GulmNoExp passes what those have left who are dead and fenced, or have
	// withdrawn; in a lockspace with journals only while one is replayed.
	GulmNoExp = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_NO_EXP)
	// GulmPriority goes before those who wait.
	GulmPriority = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_PRIORITY)
	// GulmNoCallBacks: this holder is never asked to give way, until it unlocks.
	GulmNoCallBacks = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_NO_CALL_BACKS)

	gulmHasLVB = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_HAS_LVB)
)

// Gulm is a lockspace as users of GULM know it: holders, which are the node and a
// sub-id of their choice, bring keys into states. The states are modes: Shared
// (PR), Deferred (CW), Exclusive (EX), and Unlocked (NL).
//
// A sub-id other than 0 should be one process or thread: it counts as one that gives up
// what it holds after it got what it waits for, when deadlocks are looked for (see
// WithOwner, whose numbers are the same ones). Of sub-id 0 that is known for parts only.
type Gulm struct {
	space *Lockspace
	// The node's lock protects it.
	holders map[gulmHolder]*Lock
}

// gulmHolder is a holder on a key.
type gulmHolder struct {
	key string
	sub uint64
}

// Gulm returns the lockspace as users of GULM know it; always the same one.
func (ls *Lockspace) Gulm() *Gulm {
	n := ls.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if ls.gulm == nil {
		ls.gulm = &Gulm{space: ls, holders: map[gulmHolder]*Lock{}}
	}
	return ls.gulm
}

// State brings a holder into a state other than Unlocked, and waits for it as long
// as ctx allows. The returned lock is the holder's, always the same one until it is
// unlocked; Lock.Status has Demoted if what the holder has cached is not valid any
// more, Lock.Value is the value block if somebody holds it, zeros if that is not
// valid. A value given by Lock.SetValue is written where GULM writes: when the
// holder leaves EX and the node holds the block.
//
// Errors leave the holder as it was: ErrTryFailed; ErrBusy while another call of
// the holder waits; ErrInvalid; gulmerr.ErrInUse for CW while others have parts of the
// key (see Part); gulmerr.ErrNotRecovering for GulmNoExp; what Lock
// and Convert return.
func (g *Gulm) State(ctx context.Context, key string, sub uint64, state Mode, flags ...GulmFlag) (*Lock, error) {
	var all GulmFlag
	for _, f := range flags {
		all |= f
	}
	if state != PR && state != CW && state != EX {
		return nil, fmt.Errorf("lock %q in lockspace %q: %w", key, g.space.name, gulmerr.New(ErrInvalid, "%v is no state to be had", state))
	}
	n := g.space.node
	n.mu.Lock()
	l := g.holders[gulmHolder{key, sub}]
	held, write := l != nil && l.phase == phaseHeld, l != nil && len(l.toWrite) > 0
	n.mu.Unlock()
	if l != nil && !held {
		return nil, l.wrap("lock", ErrBusy)
	}
	if l == nil {
		return g.space.lockAs(ctx, key, state, terms{flags: all.engine(state, false)}, &gulmUse{g, sub})
	}
	if err := l.convert(ctx, state, terms{flags: all.engine(state, true) | attached(write)}); err != nil {
		return nil, err
	}
	return l, nil
}

// Unlock takes a holder's lock away; value, if not nil, is written as State says. It
// does not wait for the servers. Errors as Lock.Unlock: ErrBusy while a call of the
// holder waits, whose context ends it.
func (g *Gulm) Unlock(key string, sub uint64, value []byte) error {
	n := g.space.node
	n.mu.Lock()
	l := g.holders[gulmHolder{key, sub}]
	n.mu.Unlock()
	if l == nil {
		return fmt.Errorf("unlock %q in lockspace %q: %w", key, g.space.name, ErrNotHeld)
	}
	if value == nil {
		return l.Unlock()
	}
	l.SetValue(value)
	return l.Unlock(Value)
}

// gulmFlags are the flags that mean the same whatever is asked for, and what they
// are of a lock; by shows it is known there.
var gulmFlags = [...]struct {
	flag      GulmFlag
	is, shows Flag
}{
	{GulmTry, noQueue, noQueue},
	{GulmDoCB, NotifyHolders, NotifyHolders},
	{GulmNoExp, DuringRecovery, DuringRecovery},
	{GulmPriority, AtHead | AnyOrder, AtHead},
	{GulmNoCallBacks, NoBlocking, NoBlocking},
}

// engine returns the flags of a lock or a conversion that a request is for.
func (f GulmFlag) engine(state Mode, convert bool) Flag {
	flags := NoVictim
	for _, m := range gulmFlags {
		if f&m.flag != 0 {
			flags |= m.is
		}
	}
	if f&GulmAny != 0 && state == PR {
		flags |= OrDeferred
	}
	if f&GulmAny != 0 && state == CW {
		flags |= OrShared
	}
	if convert && f&GulmTry == 0 {
		flags |= DemoteOnDeadlock
	}
	return flags
}

// attached is the flag of a request with a value.
func attached(value bool) Flag {
	if value {
		return Value
	}
	return 0
}

// gulmUse makes a lock one of a Gulm.
type gulmUse struct {
	gulm *Gulm
	sub  uint64
}

// taken gives the holder's place to a lock that is about to be asked for. It
// returns true if another one has it.
func (u *gulmUse) taken(l *Lock) bool {
	at := gulmHolder{l.name, u.sub}
	if u.gulm.holders[at] != nil {
		return true
	}
	u.gulm.holders[at] = l
	return false
}

// left takes the place back from a lock that is gone.
func (u *gulmUse) left(l *Lock) {
	if at := (gulmHolder{l.name, u.sub}); u.gulm.holders[at] == l {
		delete(u.gulm.holders, at)
	}
}

// dress makes a request for a lock, or its unlock, one of the GULM layer.
func (l *Lock) dress(msg *gulmv1.Request, flags Flag) {
	if l.gulm == nil {
		return
	}
	wire := GulmFlag(0)
	for _, m := range gulmFlags {
		if flags&m.shows != 0 {
			wire |= m.flag
		}
	}
	if flags&(OrShared|OrDeferred) != 0 {
		wire |= GulmAny
	}
	if flags&Value != 0 && len(msg.Value) != 0 {
		wire |= gulmHasLVB
	}
	msg.Op, msg.Lockspace, msg.Name, msg.Sub = gulmv1.Op_OP_GULM, l.space.number, []byte(l.name), l.gulm.sub
	msg.Flags = uint32(wire)
}

// Sub returns the sub-id of a lock of a Gulm, 0 for others.
func (l *Lock) Sub() uint64 {
	if l.gulm == nil {
		return 0
	}
	return l.gulm.sub
}

// Hold makes the node hold the value block of a key, which exists as long as
// anybody does, and returns it: zeros at first, and when it is not valid.
func (g *Gulm) Hold(ctx context.Context, key string) ([]byte, error) {
	reply, err := g.ask(ctx, "hold", &gulmv1.Request{Op: gulmv1.Op_OP_GULM_HOLD, Name: []byte(key)}, gulmv1.Outcome_OUTCOME_GRANTED)
	return slices.Clone(reply.GetValue()), err
}

// Unhold ends that: ErrNotHeld if the node does not hold it.
func (g *Gulm) Unhold(ctx context.Context, key string) error {
	_, err := g.ask(ctx, "unhold", &gulmv1.Request{Op: gulmv1.Op_OP_GULM_UNHOLD, Name: []byte(key)}, gulmv1.Outcome_OUTCOME_UNLOCKED)
	return err
}

// Sync writes the value block while the holder is exclusive and the node holds it;
// ErrNotHeld otherwise.
func (g *Gulm) Sync(ctx context.Context, key string, sub uint64, value []byte) error {
	msg := &gulmv1.Request{Op: gulmv1.Op_OP_GULM_SYNC, Name: []byte(key), Sub: sub, Value: slices.Clone(value)}
	_, err := g.ask(ctx, "sync", msg, gulmv1.Outcome_OUTCOME_GRANTED)
	return err
}

// GulmHolder is somebody who holds a key.
type GulmHolder struct {
	// Node is "" if it is not known any more. Session is who holds the key, or who
	// left it when it is Frozen.
	Node    string
	Session uint64
	Sub     uint64
	State   Mode
	// Start and End are the part, 0 and MaxOffset for the whole key.
	Start, End uint64
	Frozen     bool
}

// Query returns who else holds a key in a state that conflicts with the given one,
// and whether there are more than those.
func (g *Gulm) Query(ctx context.Context, key string, sub uint64, state Mode) (found []GulmHolder, more bool, err error) {
	return g.query(ctx, &gulmv1.Request{Op: gulmv1.Op_OP_GULM_QUERY, Name: []byte(key), Sub: sub, Mode: gulmv1.Mode(state)})
}

func (g *Gulm) query(ctx context.Context, msg *gulmv1.Request) (found []GulmHolder, more bool, err error) {
	reply, err := g.ask(ctx, "query", msg, gulmv1.Outcome_OUTCOME_GRANTED)
	if len(reply.GetHolders()) == 0 {
		return nil, false, err
	}
	for _, h := range reply.GetHolders() {
		found = append(found, GulmHolder{
			Node: h.GetNode(), Session: h.GetSession(), Sub: h.GetSub(), State: Mode(h.GetMode()),
			Start: h.GetStart(), End: h.GetEnd(), Frozen: h.GetFrozen(),
		})
	}
	return found, reply.GetMore(), nil
}

// DropExpired releases what a node has left, or all nodes with "", on keys that
// match a mask: byte by byte, 0xff is any byte, and a key may be longer. It returns
// how many locks these were. A node that is dead must be fenced
// (gulmerr.ErrNotFenced); in a lockspace with journals their recovery does it
// (gulmerr.ErrNotRecovering).
func (g *Gulm) DropExpired(ctx context.Context, node string, mask []byte) (int, error) {
	msg := &gulmv1.Request{Op: gulmv1.Op_OP_GULM_DROP, Node: []byte(node), Name: slices.Clone(mask)}
	reply, err := g.ask(ctx, "drop expired", msg, gulmv1.Outcome_OUTCOME_UNLOCKED)
	return int(reply.GetNumber()), err
}

// Withdraw gives up what this process holds on keys that match a mask of at least
// one byte, as if its node had died there: it stays in the way of others until
// DropExpired, byte ranges of files of such names included; calls that wait for one
// fail with gulmerr.ErrCanceled. The caller has stopped all I/O there; the locks are
// gone when Withdraw begins. It returns how many locks these were. gulmerr.ErrInUse
// in a lockspace with journals, see Mount.Withdraw.
func (g *Gulm) Withdraw(ctx context.Context, mask []byte) (int, error) {
	if len(mask) == 0 {
		return 0, fmt.Errorf("withdraw from lockspace %q: %w", g.space.name, gulmerr.New(ErrInvalid, "the mask is empty"))
	}
	for _, end := range g.forget(mask) {
		end(ErrUnlocked)
	}
	msg := &gulmv1.Request{Op: gulmv1.Op_OP_GULM_WITHDRAW, Name: slices.Clone(mask)}
	reply, err := g.space.askRange(ctx, msg, gulmv1.Outcome_OUTCOME_UNLOCKED, func(r *request) {
		g.space.closed(r, func(c *rangeCall) bool { return matches(mask, c.name) })
	})
	if err != nil {
		return 0, fmt.Errorf("withdraw %q in lockspace %q: %w", mask, g.space.name, err)
	}
	return int(reply.GetNumber()), nil
}

// forget forgets the locks on keys that match a mask.
func (g *Gulm) forget(mask []byte) (ends []context.CancelCauseFunc) {
	n := g.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.locks {
		if l.space != g.space || !matches(mask, l.name) {
			continue
		}
		loose := l.call != nil && l.call.givenUp && l.call.op == gulmv1.Op_OP_LOCK
		if l.call != nil {
			l.finish(l.call, ErrUnlocked)
		}
		l.forget()
		if loose {
			g.space.tidied()
		} else {
			g.space.locks--
		}
		if l.cancel != nil {
			ends = append(ends, l.cancel)
		}
	}
	return ends
}

// matches reports whether a mask matches a key.
func matches(mask []byte, key string) bool {
	if len(mask) > len(key) {
		return false
	}
	for i, b := range mask {
		if b != 0xff && b != key[i] {
			return false
		}
	}
	return true
}

// ask sends one request about the lockspace and waits for its answer.
func (g *Gulm) ask(ctx context.Context, what string, msg *gulmv1.Request, want gulmv1.Outcome) (*gulmv1.Reply, error) {
	reply, err := g.send(ctx, msg, want)
	if err != nil {
		return reply, fmt.Errorf("%s %q in lockspace %q: %w", what, msg.GetName(), g.space.name, err)
	}
	return reply, nil
}

func (g *Gulm) send(ctx context.Context, msg *gulmv1.Request, want gulmv1.Outcome) (*gulmv1.Reply, error) {
	slot, err := g.space.begin(ctx)
	if err != nil {
		return nil, err
	}
	n := g.space.node
	n.lastLock++
	msg.Lock, msg.Lockspace = n.lastLock, g.space.number
	answer := n.push(&request{slot: slot.use(), msg: msg}, want, nil)
	slot.end()
	return await(ctx, answer)
}
