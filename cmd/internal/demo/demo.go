package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"lock_gulmd/proto/gulmerr"
)

// timeLimit bounds the whole demo.
const timeLimit = 2 * time.Minute

// The stories that Run can tell.
const (
	// StoryFence: a holder is stopped, fenced, and only then its lock handed on;
	// the master is killed in the middle of the next recovery.
	StoryFence = "fence"
	// StoryRecovery: two nodes of four die together; their journals are replayed
	// before their locks are handed on, although the node that replays dies too.
	StoryRecovery = "recovery"
)

// Options say how the demo is told.
type Options struct {
	// Story is one of the above; empty means StoryFence.
	Story string
	// JSON prints the timeline and the counts at the end, and nothing before.
	JSON bool
	// ShowLease tells the story a second time with a lease-style lock.
	ShowLease bool
	// Keep leaves the temporary folder, with all logs, where it is.
	Keep bool
}

// ErrBroken is returned when a promise did not hold.
var ErrBroken = errors.New("a promise was broken")

// Run tells the story. It returns nil if every promise held, ErrBroken if one
// did not, and another error if the story could not be told to its end.
// Whatever happens, no process is left, and no file unless Keep.
func Run(ctx context.Context, opt Options, w io.Writer) error {
	if !slices.Contains([]string{"", StoryFence, StoryRecovery}, opt.Story) || opt.Story == StoryRecovery && opt.ShowLease {
		return gulmerr.New(gulmerr.ErrInvalid, "no such story: %s and %s are told, the lease in the first only", StoryFence, StoryRecovery)
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "lock_gulmd-demo-")
	if err != nil {
		return err
	}
	r := &report{began: time.Now()}
	if !opt.JSON {
		r.out = w
	}
	err = tell(ctx, opt, r, dir)
	if err != nil {
		r.Error = err.Error()
	}
	if opt.Keep || err != nil {
		r.note("kept", "configuration, logs and data are in %s", dir)
	} else if removeErr := os.RemoveAll(dir); removeErr != nil {
		err = removeErr
	}
	if printErr := r.finish(w); err == nil {
		err = printErr
	}
	if err == nil && !r.kept() {
		err = ErrBroken
	}
	return err
}

func tell(ctx context.Context, opt Options, r *report, dir string) error {
	if opt.Story == StoryRecovery {
		s, err := newRecoveryStory(r, dir)
		if err != nil {
			return fmt.Errorf("prepare the demo: %w", err)
		}
		defer s.c.close()
		return s.tell(ctx)
	}
	c, err := newCluster(dir, setup{nodes: []string{"n1", "n2", "n3"}})
	if err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	defer c.close()
	s := &story{report: r, c: c}
	if err := s.tell(ctx); err != nil {
		return err
	}
	if opt.ShowLease {
		return s.leaseStory(ctx)
	}
	return nil
}
