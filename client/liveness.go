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

// Deadlines are the times that a node keeps, each counted from before it sent the
// newest beat that was acknowledged.
type Deadlines struct {
	// Beat is when the next one is sent.
	Beat time.Duration
	// Jeopardy and Lost are when the node's state becomes that.
	Jeopardy, Lost time.Duration
}

// DeadlinesFor returns the deadlines for a heartbeat rate and an expiry time of
// the servers, or an error that wraps gulmerr.ErrBadConfig.
func DeadlinesFor(rate, expiry time.Duration) (Deadlines, error) {
	d, err := deadlinesOf(&gulmv1.LoginReply{HeartbeatRateMs: rate.Milliseconds(), ExpiryMs: expiry.Milliseconds()})
	return Deadlines{Beat: d.beat, Jeopardy: d.jeopardy, Lost: d.lost}, err
}

// sentBeat is a beat that was not acknowledged yet.
type sentBeat struct {
	number uint64
	at     time.Time
}

// never is before any proof of life.
const never = 100 * 365 * 24 * time.Hour

// maxBeats bounds the beats remembered; older ones prove too little anyway.
const maxBeats = 64

// liveness knows how good the node's proof of life is. It takes no other lock
// while it holds its own.
type liveness struct {
	deadlines
	*clock
	emit func(Event)
	// until is when the locks are lost unless a newer beat is acknowledged, in
	// nanoseconds after the clock's base; 0 while they are lost, and for good at
	// the end.
	until atomic.Int64
	// kick wakes run: a deadline may be earlier than the one it waits for.
	kick chan struct{}

	mu    sync.Mutex
	state State
	err   error // why the state is expired or closed
	proof time.Time
	// sick is why no beats are sent although they could be: a probe fails.
	sick  error
	safe  time.Time // when the state last became safe
	beats []sentBeat
	last  uint64 // newest beat
	// rest is until as it was at the end.
	rest int64
	// alive is done while the locks are lost, and for good at the end.
	alive context.Context
	lose  context.CancelCauseFunc
	// back is closed while the locks are not lost, and for good at the end.
	back chan struct{}
}

// newLiveness starts in the state lost: there is no proof of life yet. No
// event is made of that.
func newLiveness(d deadlines, c *clock, emit func(Event)) *liveness {
	l := &liveness{
		deadlines: d, clock: c, emit: emit, kick: make(chan struct{}, 1), proof: c.base.Add(-never),
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
	return l.tickLocked(l.now())
}

func (l *liveness) tickLocked(now time.Time) time.Duration {
	age := now.Sub(l.proof)
	if l.state == StateSafe && (age >= l.jeopardy || l.sick != nil) {
		l.state = StateJeopardy
		l.emit(Event{Kind: EventJeopardy, At: time.Now(), Err: l.sick})
	}
	if l.state == StateJeopardy && age >= l.lost {
		l.state = StateLost
		l.until.Store(0)
		l.back = make(chan struct{})
		l.lose(ErrLost)
		l.emit(Event{Kind: EventLost, At: time.Now(), Err: l.sick})
	}
	// Not longer than a beat: timers stand still while the machine is suspended.
	switch l.state {
	case StateSafe:
		return min(l.jeopardy-age, l.beat)
	case StateJeopardy:
		return min(l.lost-age, l.beat)
	default:
		return l.lost // whatever ends this state kicks
	}
}

// setSick notes why no more beats are sent, or nil when they are again. A sick
// node is in jeopardy at once, and lost when its newest proof is too old.
func (l *liveness) setSick(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sick = why
	now := l.now()
	l.tickLocked(now)
	if why == nil && l.err == nil {
		l.renew(now)
	}
}

// safeFor returns for how long the state has been safe, 0 if it is not.
func (l *liveness) safeFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.tickLocked(now)
	if l.state != StateSafe {
		return 0
	}
	return now.Sub(l.safe)
}

// nextBeat numbers a beat that is sent right after. It returns 0 if none may be
// sent.
func (l *liveness) nextBeat() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sick != nil {
		return 0
	}
	now := l.now()
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
	now := l.now()
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
	safe := now.Sub(l.proof) < l.jeopardy && l.sick == nil
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
		l.state, l.safe = StateSafe, now
		l.emit(Event{Kind: EventSafe, At: time.Now()})
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
	l.tickLocked(l.now())
	lost := l.state == StateLost
	l.rest = l.until.Load()
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
	if until := l.until.Load(); until != 0 && int64(l.quick()) < until {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickLocked(l.now())
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
	l.tickLocked(l.now())
	return l.state, l.alive
}
