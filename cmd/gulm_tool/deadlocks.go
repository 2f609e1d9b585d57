package main

import (
	"fmt"
	"io"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// knots are the deadlocks that "gulm_tool locks" was told of, beside the list.
type knots struct {
	list []*gulmv1.Deadlock
	more bool
	// leftOut is how many resources and files the list has no room for.
	leftOut uint64
}

func (k *knots) add(reply *gulmv1.LocksReply) {
	k.list = append(k.list, reply.GetDeadlocks()...)
	k.more = k.more || reply.GetMoreDeadlocks()
	k.leftOut += reply.GetLeftOut()
}

// print spells the deadlocks out; it prints nothing if there is none.
func (k *knots) print(w io.Writer) error {
	for _, d := range k.list {
		end := "all of them asked to be spared: one must be cancelled or its holder give way"
		if d.GetNode() != "" {
			end = fmt.Sprintf("the request %s/%d/%d is about to be denied", tool.Line(d.GetNode()), d.GetSession(), d.GetLock())
		}
		if _, err := fmt.Fprintf(w, "\nDEADLOCK: %s; %s\n", tool.Line(d.GetText()), end); err != nil {
			return err
		}
	}
	if k.more {
		_, err := fmt.Fprintln(w, "\nThere may be more deadlocks: too much waits to look at all of it.")
		return err
	}
	return nil
}

// deadlockJSON is one deadlock; node, session and lock are the request that is
// about to be denied, node empty if all asked to be spared.
type deadlockJSON struct {
	Text    string `json:"text"`
	Node    string `json:"node"`
	Session uint64 `json:"session"`
	Lock    uint64 `json:"lock"`
}

func (k *knots) json() []deadlockJSON {
	out := []deadlockJSON{}
	for _, d := range k.list {
		out = append(out, deadlockJSON{d.GetText(), d.GetNode(), d.GetSession(), d.GetLock()})
	}
	return out
}
