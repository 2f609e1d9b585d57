package client

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// denied takes the news that the servers have ended what the lock waits for. It
// may be a repetition, and a conversion must not take that of an earlier one for
// its own: it counts only if the servers have the present one already.
func (l *Lock) denied(e *gulmv1.Event) {
	c := l.call
	switch {
	case c == nil:
	case c.op == gulmv1.Op_OP_LOCK:
		l.refused(c, denial(e))
		l.acknowledge()
	case c.queued || c.req.sent && c.req.msg.GetSeq() <= l.space.node.applied:
		l.keeps(Mode(e.GetMode()))
		l.refused(c, denial(e))
	}
}

// acknowledge tells the servers that the denial of a lock is known, so that they
// forget it.
func (l *Lock) acknowledge() { l.space.node.acknowledge(l.number) }

func (n *Node) acknowledge(lock uint64) {
	n.pipe.push(&request{msg: &gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: lock}})
}

// keeps notes in which mode a conversion that failed has left the lock.
func (l *Lock) keeps(mode Mode) {
	if mode != l.mode {
		l.mode = mode
		l.status |= Demoted
	}
}

// surely returns the mode that the holder can rely on while c converts the lock.
func (l *Lock) surely(c *call) Mode {
	sure := meet(l.mode, c.to)
	if c.flags&OrShared != 0 {
		sure = meet(sure, PR)
	}
	if c.flags&OrDeferred != 0 {
		sure = meet(sure, CW)
	}
	if c.flags&DemoteOnDeadlock != 0 {
		sure = NL
	}
	return sure
}

// accepts says whether a grant of this mode can be what the call asks for.
func (c *call) accepts(mode Mode) bool {
	return mode == c.to || mode == PR && c.flags&OrShared != 0 || mode == CW && c.flags&OrDeferred != 0
}
