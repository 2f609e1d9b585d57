package state_test

import (
	"bytes"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestMain makes rapid's sequences longer; its flags still win.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.steps", "60"); err != nil {
		panic(err)
	}
	m.Run()
}

// cluster plays commands on one state, one log index after the other.
type cluster struct {
	testing.TB
	*state.State
	next uint64
}

// newCluster begins with a master of term 1.
func newCluster(t testing.TB, limits state.Limits) *cluster {
	t.Helper()
	c := &cluster{t, state.New(), 0}
	c.must(state.BeginTerm{Term: 1, Server: "s1", Limits: limits})
	return c
}

// do applies a command; whatever it was, the state must be sound afterwards.
func (c *cluster) do(command state.Command) state.Result {
	c.Helper()
	c.next++
	r := c.Apply(c.next, int64(c.next)*10, command)
	if err := c.Check(); err != nil {
		c.Fatalf("%+v: %v", command, err)
	}
	return r
}

// must applies a command that must not be refused.
func (c *cluster) must(command state.Command) state.Result {
	c.Helper()
	r := c.do(command)
	if r.Reason != reason.None {
		c.Fatalf("%+v is refused: %v", command, r.Reason)
	}
	return r
}

func login(node, boot string, id byte) state.Login {
	return state.Login{LoginRequest: member.LoginRequest{Node: node, BootID: boot, LoginID: member.LoginID{id}, Process: "lockd"}}
}

// enter logs a node in and joins lockspace 1.
func (c *cluster) enter(node string) uint64 {
	c.Helper()
	session := c.must(login(node, "boot1", 1)).Login.Number
	c.ask(session, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	return session
}

// ask sends the next request of a session and returns its reply.
func (c *cluster) ask(session uint64, req state.Request) lock.Reply {
	c.Helper()
	req.Seq = c.Applied(session) + 1
	r := c.do(batch(group(session, 0, req)))
	if len(r.Replies) != 1 || r.Replies[0].Session != session || r.Replies[0].Seq != req.Seq {
		c.Fatalf("%+v: %+v", req, r.Replies)
	}
	return r.Replies[0].Reply
}

func lockOn(name string, m lock.Mode) state.Request {
	return state.Request{Op: state.OpLock, Lock: 1, Lockspace: 1, Name: []byte(name), Mode: m}
}

func batch(groups ...state.Group) *state.Batch { return &state.Batch{Groups: groups} }

func group(session, confirmed uint64, requests ...state.Request) state.Group {
	return state.Group{Session: session, Confirmed: confirmed, Requests: requests}
}

// expire declares the present life of a node dead.
func (c *cluster) expire(node string) member.Life {
	c.Helper()
	l := c.life(node)
	c.must(state.Expire{Term: c.Term(), Life: l, Seen: c.next, Reason: "silent"})
	return l
}

func (c *cluster) life(node string) member.Life {
	n, _ := c.Members().Node(node)
	return member.Life{Node: node, Incarnation: n.Incarnation}
}

// picture is a state in a form that compares and prints.
type picture struct {
	Image     state.Image
	Resources []lock.ResourceState
	Locks     uint64
}

func pictureOf(s *state.State) picture {
	c := s.Clone()
	p := picture{Image: c.Image(), Locks: c.Locks().Digest()}
	c.Locks().WalkRanges(func(f *lock.RangeFile) bool {
		p.Image.RangeFiles = append(p.Image.RangeFiles, lock.RangeFileState{
			Lockspace: f.Lockspace, Name: bytes.Clone(f.Name), Flock: f.Flock, Gulm: f.Gulm, Ranges: append([]lock.RangeState(nil), f.Ranges...), Waits: append([]lock.RangeWaitState(nil), f.Waits...),
		})
		return true
	})
	slices.SortFunc(p.Image.RangeFiles, func(a, b lock.RangeFileState) int {
		return slices.Compare(fmt.Appendf(nil, "%d%s%v%v", a.Lockspace, a.Name, a.Flock, a.Gulm), fmt.Appendf(nil, "%d%s%v%v", b.Lockspace, b.Name, b.Flock, b.Gulm))
	})
	for i := range p.Image.Spaces {
		if len(p.Image.Spaces[i].Members) == 0 {
			p.Image.Spaces[i].Members = nil // orphans only; nil or empty is the same
		}
	}
	c.Locks().Walk(func(r *lock.ResourceState) bool {
		own := *r
		own.Name, own.Locks, own.Value = bytes.Clone(r.Name), append([]lock.LockState(nil), r.Locks...), bytes.Clone(r.Value)
		p.Resources = append(p.Resources, own)
		return true
	})
	slices.SortFunc(p.Resources, func(a, b lock.ResourceState) int {
		return slices.Compare(append([]byte{byte(a.Lockspace)}, a.Name...), append([]byte{byte(b.Lockspace)}, b.Name...))
	})
	if len(p.Image.Left) == 0 {
		p.Image.Left = nil
	}
	return p
}

// same compares two states in everything there is.
func same(a, b *state.State) error {
	if a.Digest() != b.Digest() || a.Index() != b.Index() {
		return fmt.Errorf("digests %x at %d, %x at %d", a.Digest(), a.Index(), b.Digest(), b.Index())
	}
	p, q := pictureOf(a), pictureOf(b)
	if !reflect.DeepEqual(p, q) {
		return fmt.Errorf("states differ: %s", cmp.Diff(p, q))
	}
	return nil
}

// restored rebuilds a state from its image, resources in the order of the names.
func restored(s *state.State) (*state.State, bool) { return rebuilt(pictureOf(s)) }

func rebuilt(p picture) (*state.State, bool) {
	return state.FromImage(p.Image, func(r *lock.ResourceState) bool {
		if len(p.Resources) == 0 {
			return false
		}
		*r, p.Resources = p.Resources[0], p.Resources[1:]
		return true
	})
}

// reread writes a state as a snapshot and reads it again.
func reread(s *state.State) (*state.State, error) {
	var b bytes.Buffer
	if err := codec.WriteSnapshot(&b, s.Clone()); err != nil {
		return nil, err
	}
	return codec.ReadSnapshot(&b)
}

// decoded sends a command through the log.
func decoded(c state.Command) (state.Command, error) {
	_, again, err := codec.Decode(codec.Encode(1, c))
	return again, err
}
