package master

import (
	"context"
	"slices"
	"sync"
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// siblingShare is which part of the expiry time one session of a node may lag
// behind another whose beat is acknowledged. Nodes count their locks as lost at
// least that part before the expiry time, so a session learns that its sibling's
// silence endangers it before the node can be expired.
const siblingShare = 8

// beats knows when each session was last heard of.
type beats struct {
	wake chan struct{}

	// patience is how old pulse may be before this server doubts its own time.
	patience time.Duration

	mu      sync.Mutex
	lives   map[uint64]*life
	pending map[uint64]beat // newest to be acknowledged, by session
	// pulse is when this server last showed that its own goroutines run in time.
	pulse time.Time
	// awake is how much time passed until then, without that in which this server
	// stood still.
	awake time.Duration
}

// beat is a sign of life that wants an answer.
type beat struct {
	number uint64
	at     time.Time // when it arrived
}

type life struct {
	last time.Time
	// busy counts this server's own delays: a stream that waits to be served is
	// not read, and its silence proves nothing.
	busy int
	// condemned: its node is being expired, so none of its beats is good.
	condemned bool
	// alone: its silence ends only itself.
	alone bool
}

func newBeats(patience time.Duration) *beats {
	return &beats{
		wake: make(chan struct{}, 1), patience: patience, lives: map[uint64]*life{}, pending: map[uint64]beat{}, pulse: time.Now(),
	}
}

// life returns the session's record, a new one heard of just now if there is
// none. The caller holds mu.
func (b *beats) life(session uint64) *life {
	l := b.lives[session]
	if l == nil {
		l = &life{last: time.Now()}
		b.lives[session] = l
	}
	return l
}

func (b *beats) alive(session, number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.life(session).last = now
	if number == 0 {
		return
	}
	if number > b.pending[session].number {
		b.pending[session] = beat{number, now}
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *beats) enter(session uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.life(session).busy++
}

func (b *beats) leave(session uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.life(session)
	l.busy = max(0, l.busy-1) // the record may be younger than the entry
	l.last = time.Now()
}

func (b *beats) last(session uint64) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lives[session]; l != nil {
		return l.last, true
	}
	return time.Time{}, false
}

// tick shows that this server's own goroutines run. If they did not for longer
// than patience, every session gets a full period from now: what looks like their
// silence may have been ours. It returns how long that was, 0 if it was not.
func (b *beats) tick() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	gap := now.Sub(b.pulse)
	b.pulse = now
	if gap <= b.patience {
		b.awake += gap
		return 0
	}
	for _, l := range b.lives {
		l.last = now
	}
	return gap
}

// condemn returns true if a session still is silent for longer than limit and
// this server can trust its own time. From then on no beat of the given sessions,
// which are those of its node, is acknowledged, until pardon.
func (b *beats) condemn(session uint64, limit time.Duration, all []uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if l := b.life(session); now.Sub(b.pulse) > b.patience || l.busy > 0 || now.Sub(l.last) <= limit {
		return false
	}
	for _, s := range all {
		b.life(s).condemned = true
	}
	return true
}

// doom is condemn whatever the sessions have done.
func (b *beats) doom(all []uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range all {
		b.life(s).condemned = true
	}
}

// counts takes note of which sessions end alone. One that does no more gets a
// full period from now: while it ended alone, its silence held up no beat of the
// node's other sessions.
func (b *beats) counts(alone map[uint64]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, l := range b.lives {
		if l.alone && !alone[s] {
			l.last = time.Now()
		}
		l.alone = alone[s]
	}
}

// silent returns for how long each session was silent; not at all while it waits
// for this server.
func (b *beats) silent(sessions map[uint64]time.Duration) map[uint64]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	out := map[uint64]time.Duration{}
	for s := range sessions {
		if l := b.life(s); l.busy == 0 {
			out[s] = now.Sub(l.last)
		}
	}
	return out
}

func (b *beats) pardon(sessions []uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range sessions {
		b.life(s).condemned = false
	}
}

// settle calls acknowledge, while nobody can be condemned, if a beat is good. It
// is not if its node is being expired. It has to wait for the beats of the node's
// other sessions, others, if one of them was silent for longer than slack when it
// arrived: the silence of one expires the node, and all must know that before.
func (b *beats) settle(session uint64, p beat, others []uint64, slack time.Duration, acknowledge func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lives[session]; l != nil && l.condemned {
		return
	}
	for _, o := range others {
		if l := b.life(o); l.busy == 0 && p.at.Sub(l.last) > slack {
			if p.number > b.pending[session].number {
				b.pending[session] = p // until the next beat of anybody
			}
			return
		}
	}
	acknowledge()
}

// keep makes the known sessions the given ones, by number with the silence that
// each is allowed: new ones are heard of just now, others are forgotten. It
// returns those that were silent for longer.
func (b *beats) keep(allowed map[uint64]time.Duration) map[uint64]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	lives := make(map[uint64]*life, len(allowed))
	late := map[uint64]time.Duration{}
	for s, limit := range allowed {
		l := b.life(s)
		lives[s] = l
		if silent := now.Sub(l.last); silent > limit && l.busy == 0 {
			late[s] = silent
		}
	}
	b.lives = lives
	return late
}

// take returns the beats to be acknowledged.
func (b *beats) take() map[uint64]beat {
	b.mu.Lock()
	defer b.mu.Unlock()
	pending := b.pending
	b.pending = map[uint64]beat{}
	return pending
}

// acknowledge answers beats, each after a majority confirmed later than the beat
// arrived that this server still is the master: a deposed one that just woke up
// must not tell a node that it is safe. All beats that arrive during one
// confirmation share the next.
func (t *term) acknowledge(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.beats.wake:
		}
		pending, began := t.beats.take(), time.Now()
		if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
			return translate(err)
		}
		t.m.rounds.note(time.Since(began))
		others := t.others(pending)
		for session, p := range pending {
			t.beats.settle(session, p, others[session], t.slack(), func() {
				t.m.cfg.Hub.Acknowledge(session, p.number)
			})
		}
	}
}

// slack is how long another session of a node may have been silent when a beat
// arrives that is to be acknowledged at once.
func (t *term) slack() time.Duration { return t.m.cfg.Expiry / siblingShare }

// others returns, for sessions whose node has more than one, those of the other
// ones whose silence would fail the node.
func (t *term) others(pending map[uint64]beat) map[uint64][]uint64 {
	byNode := map[string][]uint64{}
	nodes := map[uint64]string{}
	var servers []member.Session
	t.m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if _, ok := pending[x.Number]; ok {
				nodes[x.Number] = x.Node
			}
			if s.EndsAlone(x) {
				continue
			}
			byNode[x.Node] = append(byNode[x.Node], x.Number)
			if x.Flags.Has(member.Server) {
				servers = append(servers, x)
			}
		}
	})
	t.hear(servers)
	others := map[uint64][]uint64{}
	for session, node := range nodes {
		if sessions := byNode[node]; len(sessions) > 1 || len(sessions) == 1 && sessions[0] != session {
			others[session] = slices.DeleteFunc(slices.Clone(sessions), func(s uint64) bool { return s == session })
		}
	}
	return others
}
