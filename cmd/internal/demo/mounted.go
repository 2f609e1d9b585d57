package demo

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"lock_gulmd/client"
)

// endLimit bounds how long a node takes to go.
const endLimit = 10 * time.Second

// mounted is a node of the recovery story: it has a file system with journals
// mounted, writes to its files, and replays the journals of others when told to by
// the servers. Its commands are "work FILE" (lock, write, unlock), "hold FILE"
// (lock and keep writing), "freeze" (stop between journal and file), "stumble"
// (stop in the middle of the next recovery), "release", "quit".
type mounted struct {
	*node
	vol     volume
	space   *client.Lockspace
	mount   *client.Mount
	stumble atomic.Bool
}

// runMounted logs in, mounts, obeys, unmounts and logs out.
func (n *node) runMounted(ctx context.Context, dir, servers string, journals int) error {
	space, err := n.dial(ctx, servers)
	if err != nil {
		return err
	}
	m := &mounted{node: n, vol: volume{dir}, space: space}
	m.mount, err = space.Mount(ctx, client.MountOptions{Journals: journals, OnRecover: m.recover})
	if err != nil {
		return err
	}
	if m.mount.First() {
		if err := m.replayAll(ctx, journals); err != nil {
			return err
		}
	}
	m.say(message{What: "ready", Journal: m.mount.JID()})
	if err := m.obey(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if err := m.mount.Unmount(ctx); err != nil {
		return err
	}
	return space.Node().Logout(ctx)
}

// replayAll is the first mounter's duty.
func (m *mounted) replayAll(ctx context.Context, journals int) error {
	for jid := range journals {
		if _, err := m.vol.replay(jid, func() error { return nil }); err != nil {
			return err
		}
	}
	return m.mount.OthersMayMount(ctx)
}

// recover replays the journal of a node that failed. Its locks are still held for
// it; a recovering node may pass them.
func (m *mounted) recover(ctx context.Context, r client.Recovery) error {
	m.say(message{What: "recovering", Journal: r.JID, Text: r.Node})
	pending, err := m.vol.pending(r.JID)
	if err != nil {
		return err
	}
	var locks []*client.Lock
	for i, p := range pending {
		if slices.ContainsFunc(pending[:i], func(q intent) bool { return q.File == p.File }) {
			continue
		}
		l, err := m.space.Lock(ctx, p.File, client.EX, client.DuringRecovery)
		if err != nil {
			return fmt.Errorf("journal %d: %w", r.JID, err)
		}
		locks = append(locks, l)
	}
	home, err := m.vol.replay(r.JID, func() error {
		if !m.stumble.Load() {
			return nil
		}
		return m.freeze(message{What: "stumbled", Journal: r.JID, Text: r.Node})
	})
	if err != nil {
		return err
	}
	for _, l := range locks {
		if err := l.Unlock(); err != nil {
			return err
		}
	}
	m.say(message{What: "recovered", Journal: r.JID, Records: home, Text: r.Node})
	return nil
}

func (m *mounted) obey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case command := <-m.commands:
			var verb, file string
			_, _ = fmt.Sscan(command, &verb, &file) // a missing file is an empty one
			var err error
			switch verb {
			case "work":
				err = m.workOn(ctx, file)
			case "hold":
				err = m.holdFile(ctx, file)
			case "stumble":
				m.stumble.Store(true)
			case "quit":
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// workOn writes a few records to a file.
func (m *mounted) workOn(ctx context.Context, file string) error {
	l, err := m.space.Lock(ctx, file, client.EX)
	if err != nil {
		return err
	}
	for range 3 {
		if err := m.writeTo(file, l, false); err != nil {
			return err
		}
	}
	err = l.Unlock()
	m.say(message{What: "worked"})
	return err
}

// holdFile locks a file and keeps writing to it until told to release it.
func (m *mounted) holdFile(ctx context.Context, file string) error {
	l, err := m.space.Lock(ctx, file, client.EX)
	if err != nil {
		return err
	}
	m.say(message{What: "granted", Token: l.Token(), Text: file})
	for {
		freeze := false
		select {
		case command := <-m.commands:
			if command == "release" {
				err := l.Unlock()
				m.say(message{What: "released"})
				return err
			}
			freeze = command == "freeze"
		default:
		}
		if err := l.Valid(); err != nil {
			m.say(message{What: "lost", Text: err.Error()})
			return nil
		}
		if err := m.writeTo(file, l, freeze); err != nil {
			return err
		}
	}
}

// writeTo writes one record by way of the journal, and may stop in between.
func (m *mounted) writeTo(file string, l *client.Lock, freeze bool) error {
	m.seq++
	i := intent{file, record{Node: m.name, Life: m.life, Seq: m.seq, Token: l.Token()}}
	return m.vol.write(m.mount.JID(), i, func() error { return m.linger(freeze, i.Token) })
}
