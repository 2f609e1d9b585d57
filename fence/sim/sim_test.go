package sim_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/fence/sim"
)

// recorded is a switch whose power cuts and attempts are gathered.
func recorded() (s *sim.Switch, cuts *[]string, outcomes *[]fence.Outcome, hooks fence.Hooks) {
	cuts, outcomes = new([]string), new([]fence.Outcome)
	s = &sim.Switch{PowerOff: func(node string) { *cuts = append(*cuts, node) }}
	return s, cuts, outcomes, fence.Hooks{End: func(a fence.Attempt) { *outcomes = append(*outcomes, a.Outcome) }}
}

func TestSwitchCutsPowerBeforeItReportsSuccess(t *testing.T) {
	s, cuts, outcomes, hooks := recorded()
	if err := s.Fence(t.Context(), sim.Plan("n1"), hooks); err != nil {
		t.Fatal(err)
	}
	if len(*cuts) != 1 || (*cuts)[0] != "n1" {
		t.Errorf("cuts %v, want n1 once", *cuts)
	}
	if len(*outcomes) != 1 || !(*outcomes)[0].OK() {
		t.Errorf("outcomes %v, want one ok", *outcomes)
	}
}

func TestSwitchFailsAsOftenAsTold(t *testing.T) {
	s, cuts, outcomes, hooks := recorded()
	s.Set("n1", sim.Behaviour{Fail: 2})
	for i := range 2 {
		if err := s.Fence(t.Context(), sim.Plan("n1"), hooks); !errors.Is(err, fence.ErrNotFenced) {
			t.Fatalf("call %d: %v, want ErrNotFenced", i, err)
		}
	}
	if len(*cuts) != 0 {
		t.Fatalf("a failing call cut %v", *cuts)
	}
	if err := s.Fence(t.Context(), sim.Plan("n1"), hooks); err != nil {
		t.Fatal(err)
	}
	if got := len(*outcomes); got != 3 {
		t.Errorf("%d attempts, want 3", got)
	}
	calls := s.CallsFor("n1")
	if len(calls) != 3 || calls[1].Err == nil || calls[1].Cut || calls[2].Err != nil || !calls[2].Cut {
		t.Errorf("calls %+v", calls)
	}
	if len(s.CallsFor("n2")) != 0 {
		t.Error("calls for a node that was never fenced")
	}
}

func TestSwitchLies(t *testing.T) {
	s, cuts, _, hooks := recorded()
	s.Set("n1", sim.Behaviour{Lie: true})
	if err := s.Fence(t.Context(), sim.Plan("n1"), hooks); err != nil {
		t.Fatal(err)
	}
	if len(*cuts) != 0 || s.Calls()[0].Cut {
		t.Errorf("a lie cut the power of %v", *cuts)
	}
}

func TestSwitchHangsUntilCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cuts, outcomes, hooks := recorded()
		s.Set("n1", sim.Behaviour{Hang: true, Fail: 1})
		gone := errors.New("no longer master")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- s.Fence(ctx, sim.Plan("n1"), hooks) }()
		time.Sleep(time.Hour)
		if calls := s.Calls(); len(calls) != 1 || calls[0].Done {
			t.Errorf("calls %+v, want one that runs", calls)
		}
		cancel(gone)
		if err := <-done; !errors.Is(err, gone) || !errors.Is(err, fence.ErrNotFenced) {
			t.Errorf("%v, want the cause and ErrNotFenced", err)
		}
		if len(*cuts) != 0 || len(*outcomes) != 1 || (*outcomes)[0] != fence.OutcomeCancelled {
			t.Errorf("cuts %v outcomes %v", *cuts, *outcomes)
		}
	})
}

func TestSwitchTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cuts, _, hooks := recorded()
		s.Set("n1", sim.Behaviour{Delay: 7 * time.Second})
		if err := s.Fence(t.Context(), sim.Plan("n1"), hooks); err != nil {
			t.Fatal(err)
		}
		if got := s.Calls()[0].Dur; got != 7*time.Second {
			t.Errorf("took %v, want 7s", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		if err := s.Fence(ctx, sim.Plan("n1"), fence.Hooks{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if len(*cuts) != 1 {
			t.Errorf("cuts %v, want only the first call's", *cuts)
		}
	})
}

func TestSwitchRefusesEmptyPlans(t *testing.T) {
	s, cuts, _, _ := recorded()
	for _, p := range []fence.Plan{{Node: "n1"}, {Node: "n1", Methods: []fence.Method{{Name: "empty"}}}} {
		if err := s.Fence(t.Context(), p, fence.Hooks{}); !errors.Is(err, fence.ErrPlan) {
			t.Errorf("%+v: %v, want ErrPlan", p, err)
		}
	}
	if len(*cuts) != 0 {
		t.Errorf("cuts %v", *cuts)
	}
}
