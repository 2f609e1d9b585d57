package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// deadlines are all derived from what the servers told at login: the heartbeat
// rate R and the expiry time E.
//
// The servers expire a node E after they received its newest beat, or E after
// a takeover. We count from before that beat was sent, so sending time + E is
// never later than the earliest expiry. From there we keep a margin, in which a
// holder ends its writes:
//
//	E/2                               jeopardy
//	E - max(E/6, min(R/2, E/3))       lost; 5 s for R = 2 s, E = 6 s
//	E                                 servers may expire the node
//
// The bound min(R/2, E/3) keeps lost after jeopardy for an E as short as R.
// A beat goes every min(2R/3, E/4), and a stream that leaves beats unanswered
// for another E/4 is given up, so that there is a try elsewhere before jeopardy.
// So is a new stream that is not attached after E/4.
type deadlines struct {
	beat, attach, patience, jeopardy, lost time.Duration
}

// deadlinesOf derives the deadlines, or refuses what no deadline can be made of.
func deadlinesOf(login *gulmv1.LoginReply) (deadlines, error) {
	r := time.Duration(login.GetHeartbeatRateMs()) * time.Millisecond
	e := time.Duration(login.GetExpiryMs()) * time.Millisecond
	if r <= 0 || e < r {
		return deadlines{}, gulmerr.New(gulmerr.ErrBadConfig,
			"the servers' heartbeat rate is %v and expiry %v: expiry must not be shorter than the rate; correct cluster.ccs", r, e)
	}
	beat := min(2*r/3, e/4)
	return deadlines{
		beat:     beat,
		attach:   e / 4,
		patience: beat + e/4,
		jeopardy: e / 2,
		lost:     e - max(e/6, min(r/2, e/3)),
	}, nil
}

// sentBeat is a beat that was not acknowledged yet.
type sentBeat struct {
	number uint64
	at     time.Time
}

// maxBeats bounds the beats remembered; older ones prove too little anyway.
const maxBeats = 64

// liveness knows how good the node's proof of life is. It takes no other lock
// while it holds its own.
type liveness struct {
	deadlines
	emit func(Event)
	// base is the zero of until.
	base time.Time
	// until is when the locks are lost unless a newer beat is acknowledged, in
	// nanoseconds after base; 0 while they are lost, and for good at the end.
	until atomic.Int64
	// kick wakes run: a deadline may be earlier than the one it waits for.
	kick chan struct{}

	mu    sync.Mutex
	state State
	err   error // why the state is expired or closed
	proof time.Time
	beats []sentBeat
	last  uint64 // newest beat
	// alive is done while the locks are lost, and for good at the end.
	alive context.Context
	lose  context.CancelCauseFunc
	// back is closed while the locks are not lost, and for good at the end.
	back chan struct{}
}

// newLiveness starts in the state lost: there is no proof of life yet. No
// event is made of that.
func newLiveness(d deadlines, emit func(Event)) *liveness {
	l := &liveness{
		deadlines: d, emit: emit, base: time.Now(), kick: make(chan struct{}, 1),
		state: StateLost, back: make(chan struct{}),
	}
	l.alive, l.lose = context.WithCancelCause(context.Background())
	l.lose(ErrLost)
	return l
}

// run makes the states change in time, until ctx ends.
func (l *liveness) run(ctx context.Context) {
	for {
		timer := time.NewTimer(l.tick())
		select {
		case <-timer.C:
		case <-l.kick:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// tick puts the state where the time says that it has to be, and returns how
// long that stays so at least.
func (l *liveness) tick() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tickLocked(time.Now())
}

func (l *liveness) tickLocked(now time.Time) time.Duration {
	age := now.Sub(l.proof)
	if l.state == StateSafe && age >= l.jeopardy {
		l.state = StateJeopardy
		l.emit(Event{Kind: EventJeopardy, At: now})
	}
	if l.state == StateJeopardy && age >= l.lost {
		l.state = StateLost
		l.until.Store(0)
		l.back = make(chan struct{})
		l.lose(ErrLost)
		l.emit(Event{Kind: EventLost, At: now})
	}
	switch l.state {
	case StateSafe:
		return l.jeopardy - age
	case StateJeopardy:
		return l.lost - age
	default:
		return l.lost // whatever ends this state kicks
	}
}

// nextBeat numbers a beat that is sent right after.
func (l *liveness) nextBeat(now time.Time) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	if len(l.beats) == maxBeats {
		l.beats = append(l.beats[:0], l.beats[1:]...)
	}
	l.beats = append(l.beats, sentBeat{l.last, now})
	return l.last
}

// acknowledged takes the word of a master that it has received all beats up to
// number, and that the incarnation lives. It returns false for old news.
func (l *liveness) acknowledged(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.beats) && l.beats[n].number <= number {
		n++
	}
	if n == 0 {
		return false
	}
	at := l.beats[n-1].at
	l.beats = append(l.beats[:0], l.beats[n:]...)
	now := time.Now()
	l.tickLocked(now) // what was lost before this news is lost, and told so
	if l.err != nil {
		return true
	}
	if at.After(l.proof) {
		l.proof = at
	}
	l.renew(now)
	return true
}

// renew makes the state better if the proof allows it. Only a proof that is
// good enough for safe ends lost.
func (l *liveness) renew(now time.Time) {
	safe := now.Sub(l.proof) < l.jeopardy
	if l.state == StateLost && !safe {
		return
	}
	was := l.state
	if was == StateLost {
		l.alive, l.lose = context.WithCancelCause(context.Background())
		close(l.back)
	}
	l.until.Store(int64(l.proof.Add(l.lost).Sub(l.base)))
	if safe && was != StateSafe {
		l.state = StateSafe
		l.emit(Event{Kind: EventSafe, At: now})
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

// end makes the state expired or closed, for good. Only the first end counts.
func (l *liveness) end(state State, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	lost := l.state == StateLost
	l.state, l.err = state, why
	l.until.Store(0)
	l.lose(why)
	if lost {
		close(l.back)
		l.alive, l.lose = context.WithCancelCause(context.Background())
		l.lose(why) // with the last reason as its cause
	}
	if state == StateExpired {
		l.emit(Event{Kind: EventExpired, At: time.Now(), Err: why})
	}
}

// good returns nil if the locks are held at this moment, else why they are not
// to be relied upon. It does not wait for timers.
func (l *liveness) good() error {
	if until := l.until.Load(); until != 0 && int64(time.Since(l.base)) < until {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickLocked(time.Now())
	switch {
	case l.err != nil:
		return l.err
	case l.state == StateLost:
		return ErrLost
	}
	return nil // an acknowledgement came in between
}

// wait returns nil as soon as the locks are not lost, the reason if that will
// never be, or an error that wraps ctx's and ErrLost.
func (l *liveness) wait(ctx context.Context) error {
	for {
		err := l.good()
		if !errors.Is(err, ErrLost) {
			return err
		}
		select {
		case <-l.whenBack():
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), ErrLost)
		}
	}
}

func (l *liveness) whenBack() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back // closed, unless the state is lost
}

// current returns the state and the context that ends when the locks are lost.
func (l *liveness) current() (State, context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickLocked(time.Now())
	return l.state, l.alive
}
