package gulmtest

import (
	"slices"
	"time"
)

// pipe is one direction of a connection: bytes in order, each with the time at
// which the reader may see it. Nothing moves them; the reader waits until then.
type pipe struct {
	from, to  *conn
	fwd, back *link
	chunks    []chunk
	last      time.Time // arrival of the newest chunk: none overtakes another
	used      int       // bytes that count against BufferSize
	unacked   int       // of them, read already, but the cut way back hides that from the writer
	orphan    bool      // the sender lost its power: nobody repeats what gets lost
}

// chunk is what one Write put on the way, or the end of the stream.
type chunk struct {
	data []byte
	fin  bool
	at   time.Time
	held bool // a cut is in the way, at means nothing
}

// arrived says whether the first chunk can be read.
func (p *pipe) arrived(now time.Time) bool {
	return len(p.chunks) > 0 && !p.chunks[0].held && !p.chunks[0].at.After(now)
}

// nextArrival is the time at which there is more to read, zero if unknown.
func (p *pipe) nextArrival() time.Time {
	if len(p.chunks) == 0 || p.chunks[0].held {
		return time.Time{}
	}
	return p.chunks[0].at
}

// arrival draws when something sent now arrives.
func (p *pipe) arrival(now time.Time) time.Time {
	at := now.Add(p.fwd.delay())
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	return at
}

// send puts a chunk on the way.
func (p *pipe) send(c chunk, now time.Time) {
	if c.held = p.fwd.cut; !c.held {
		c.at = p.arrival(now)
	}
	p.chunks = append(p.chunks, c)
	p.used += len(c.data)
	p.to.wake.broadcast()
	p.settle(now)
}

// take moves bytes that have arrived into b; eof is true if there are none and
// there never will be.
func (p *pipe) take(b []byte, now time.Time) (n int, eof bool) {
	for n < len(b) && p.arrived(now) {
		first := &p.chunks[0]
		if first.fin {
			eof = n == 0
			break
		}
		k := copy(b[n:], first.data)
		n += k
		if first.data = first.data[k:]; len(first.data) == 0 {
			p.chunks = p.chunks[1:]
		}
	}
	if p.back.cut {
		p.unacked += n
	} else {
		p.used -= n
	}
	if n > 0 {
		p.from.wake.broadcast()
	}
	return n, eof
}

// hold stops what is under way, since its link has just been cut.
func (p *pipe) hold(now time.Time) {
	if p.orphan {
		p.chunks = slices.DeleteFunc(p.chunks, func(c chunk) bool { return c.at.After(now) })
	}
	for i := range p.chunks {
		if p.chunks[i].at.After(now) {
			p.chunks[i].held = true
		}
	}
	if p.to.resetAt.After(now) {
		p.to.resetAt = time.Time{}
		p.to.resetHeld = !p.from.host.off
	}
}

// release sends what was held, since its link is up again.
func (p *pipe) release(now time.Time) {
	for i := range p.chunks {
		if p.chunks[i].held {
			p.chunks[i].held = false
			p.chunks[i].at = p.arrival(now)
		}
	}
	if p.to.resetHeld {
		p.to.resetHeld = false
		p.to.resetAt = p.arrival(now)
	}
}

// lose is what happens to the bytes that a machine without power would have
// had to repeat.
func (p *pipe) lose() {
	p.orphan = true
	p.to.resetHeld = false
	p.chunks = slices.DeleteFunc(p.chunks, func(c chunk) bool { return c.held })
}

// reset tells the reading end that the connection is broken. What was sent
// before still arrives first.
func (p *pipe) reset(now time.Time) {
	switch {
	case p.to.gone || p.to.resetHeld || !p.to.resetAt.IsZero():
	case p.fwd.cut:
		p.to.resetHeld = true
	default:
		p.to.resetAt = p.arrival(now)
		p.to.wake.broadcast()
	}
}

// abort breaks both ends at once. What is still under way is lost.
func (p *pipe) abort(now time.Time) {
	p.chunks = slices.DeleteFunc(p.chunks, func(c chunk) bool { return c.held || c.at.After(now) })
	for _, end := range []*conn{p.from, p.to} {
		end.resetHeld = false
		end.resetAt = now
	}
}

// settle deals with what was sent to an end that is gone: if its machine has
// power, it answers with a reset; if not, or if a link is cut, the bytes stay
// under way and the sender learns nothing.
func (p *pipe) settle(now time.Time) {
	if !p.to.gone || p.to.host.off || p.fwd.cut || p.back.cut || len(p.chunks) == 0 {
		return
	}
	unread := slices.ContainsFunc(p.chunks, func(c chunk) bool { return !c.fin })
	p.chunks, p.used, p.unacked = nil, 0, 0
	if unread {
		p.from.in.reset(now.Add(p.fwd.delay()))
	}
	p.from.wake.broadcast()
}
