package client

import (
	"context"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// answer is what became of a request: the reply, with an error unless it has the
// outcome that was wanted.
type answer struct {
	reply *gulmv1.Reply
	err   error
}

// push sends r, the node's lock held, and returns where its answer comes. taken,
// unless nil, gets the answer's error before, the node's lock held.
func (n *Node) push(r *request, want gulmv1.Outcome, taken func(error)) <-chan answer {
	out := make(chan answer, 1)
	r.done = func(reply *gulmv1.Reply, err error) {
		err = refusal(reply, err, want)
		if taken != nil {
			taken(err)
		}
		out <- answer{reply, err}
	}
	n.pipe.push(r)
	return out
}

// await waits for an answer, as long as ctx allows: the request goes on by itself
// after that.
func await(ctx context.Context, from <-chan answer) (*gulmv1.Reply, error) {
	select {
	case a := <-from:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
