package master

import (
	"context"
	"slices"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// found is a deadlock with its story.
type found struct {
	lock.Cycle
	text string
}

// deadlocks looks for requests that wait for each other whenever that may have
// changed, and denies one of each circle. The state looks at the circle again, so
// a decision that comes too late denies nobody.
func (t *term) deadlocks(ctx context.Context) error {
	var spared []string // told already
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.stirs.deadlocks:
		}
		if !sleep(ctx, searchPause) {
			return nil
		}
		cycles, complete := t.search()
		if !complete {
			if !sleep(ctx, fullPause) {
				return nil
			}
			s := t.m.cfg.Machine.Clone()
			list, all := s.Locks().Deadlocks(fullBudget)
			if cycles = tell(s, list); !all {
				t.log.Warn("too many requests wait to find all deadlocks among them")
			}
		}
		var err error
		if spared, err = t.resolve(ctx, cycles, spared); err != nil {
			return err
		}
	}
}

// search looks for deadlocks while nothing is applied, unless that would take
// long.
func (t *term) search() (cycles []found, complete bool) {
	t.m.cfg.Machine.View(func(s *state.State) {
		list, all := s.Locks().Deadlocks(quickBudget)
		cycles, complete = tell(s, list), all
	})
	return cycles, complete
}

func tell(s *state.State, list []lock.Cycle) []found {
	var cycles []found
	for _, c := range list {
		cycles = append(cycles, found{c, s.Tell(c.Waits)})
	}
	return cycles
}

// resolve denies the victims, and returns the deadlocks that have none.
func (t *term) resolve(ctx context.Context, cycles []found, told []string) (spared []string, err error) {
	for i := range cycles {
		c := &cycles[i]
		d, ok := c.Denial()
		if !ok {
			spared = append(spared, c.text)
			if !slices.Contains(told, c.text) {
				t.log.Warn("deadlock without a victim: all asked to be spared, one of them must give way", "reason", c.text)
			}
			continue
		}
		done, err := t.deny(ctx, []state.Deny{{
			Term: t.number, Session: uint64(d.Session), Lock: d.ID, Since: d.Since, Reason: d.Reason, Cycle: d.Cycle,
		}})
		if err != nil {
			return spared, err
		}
		if done > 0 {
			t.log.Info("deadlock ended, the youngest request is denied", "reason", c.text)
		}
	}
	return spared, nil
}
