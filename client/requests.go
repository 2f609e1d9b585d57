package client

import (
	"context"
	"slices"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// request is one message to the servers, from when it is queued until its reply.
type request struct {
	msg *gulmv1.Request
	// slot: the request holds one of the node's slots. Those that clean up do
	// not, or they could wait for themselves; each lock has at most two.
	slot bool
	// sent: it has a number, and is sent until it is answered.
	sent bool
	// answered: the reply came.
	answered bool
	// done takes the reply, or the error that ended the node. Called once, with
	// the node's lock held; nil for nobody.
	done func(*gulmv1.Reply, error)
}

// pipeline numbers requests, keeps them until they are answered, and sends them
// again on a new stream. The node's lock protects it.
type pipeline struct {
	limit int // requests in the window
	batch int // requests in a message
	// queue are the requests without a number.
	queue []*request
	// window are the numbered requests that are not confirmed, in order and
	// without gaps; the first has number confirmed+1.
	window    []*request
	confirmed uint64
	// next is the number to send next on the present stream.
	next uint64
	// slots bounds the requests of callers.
	slots chan struct{}
	// wake tells the writer that there is something to send.
	wake chan struct{}
}

func newPipeline(limit, batch int) pipeline {
	return pipeline{
		limit: limit, batch: batch, next: 1,
		slots: make(chan struct{}, limit), wake: make(chan struct{}, 1),
	}
}

// take waits for a slot.
func (p *pipeline) take(ctx context.Context, dead <-chan struct{}) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-dead:
		return ErrClosed // the caller finds the true reason under the lock
	}
}

// push queues a request and wakes the writer.
func (p *pipeline) push(r *request) {
	p.queue = append(p.queue, r)
	p.notify()
}

// notify wakes the writer.
func (p *pipeline) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// withdraw takes back a request that was not sent. It returns false if it was.
func (p *pipeline) withdraw(r *request) bool {
	if r.sent {
		return false
	}
	for i := len(p.queue) - 1; i >= 0; i-- { // it is rather new
		if p.queue[i] == r {
			p.queue = slices.Delete(p.queue, i, i+1)
			p.release(r)
			return true
		}
	}
	return false
}

// release gives the slot of r back.
func (p *pipeline) release(r *request) {
	if r.slot {
		r.slot = false
		<-p.slots
	}
}

// restart begins a new stream: everything unconfirmed is sent again.
func (p *pipeline) restart() { p.next = p.confirmed + 1 }

// gather numbers queued requests as far as the window allows, and returns what
// to send now, at most one batch.
func (p *pipeline) gather() []*gulmv1.Request {
	taken := min(len(p.queue), p.limit-len(p.window))
	for i, r := range p.queue[:taken] {
		r.sent = true
		r.msg.Seq = p.confirmed + uint64(len(p.window)) + 1
		p.window = append(p.window, r)
		p.queue[i] = nil
	}
	p.queue = p.queue[taken:]
	from := int(p.next - p.confirmed - 1)
	to := min(len(p.window), from+p.batch)
	if from == to {
		return nil
	}
	batch := make([]*gulmv1.Request, 0, to-from)
	for _, r := range p.window[from:to] {
		batch = append(batch, r.msg)
	}
	p.next += uint64(to - from)
	return batch
}

// answer hands a reply to its request; a reply that is repeated is ignored.
func (p *pipeline) answer(reply *gulmv1.Reply) {
	seq := reply.GetSeq()
	if seq <= p.confirmed || seq > p.confirmed+uint64(len(p.window)) {
		return
	}
	r := p.window[seq-p.confirmed-1]
	if r.answered {
		return
	}
	r.answered = true
	p.release(r)
	if r.done != nil {
		r.done(reply, nil)
	}
	for len(p.window) > 0 && p.window[0].answered {
		p.window[0] = nil
		p.window = p.window[1:]
		p.confirmed++
	}
	p.next = max(p.next, p.confirmed+1)
	if len(p.queue) > 0 {
		p.notify()
	}
}

// fail ends all requests; nothing is sent after it but beats.
func (p *pipeline) fail(err error) {
	for _, list := range [][]*request{p.window, p.queue} {
		for _, r := range list {
			if r.answered {
				continue
			}
			r.answered = true
			p.release(r)
			if r.done != nil {
				r.done(nil, err)
			}
		}
	}
	p.window, p.queue = nil, nil
	p.restart()
}
