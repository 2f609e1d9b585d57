package member

import (
	"testing"

	"lock_gulmd/server/reason"
)

// standing is where a node can stand; unknown is no State.
var standing = []struct {
	name  string
	known bool
	state State
	make  func(r *Registry)
}{
	{"unknown", false, 0, func(*Registry) {}},
	{"logged out", true, LoggedOut, func(r *Registry) {
		r.Login(request("n", "boot1", 1), 1, 1, 0)
		r.Logout(1, 2)
	}},
	{"logged in", true, LoggedIn, func(r *Registry) { r.Login(request("n", "boot1", 1), 1, 1, 0) }},
	{"logged in twice", true, LoggedIn, func(r *Registry) {
		r.Login(request("n", "boot1", 1), 1, 1, 0)
		r.Login(request("n", "boot1", 2), 1, 1, 0)
	}},
	{"expired", true, Expired, func(r *Registry) {
		r.Login(request("n", "boot1", 1), 1, 1, 0)
		r.Expire(Life{"n", 1}, 1, "silent", 2)
	}},
	{"fenced", true, Fenced, func(r *Registry) {
		r.Login(request("n", "boot1", 1), 1, 1, 0)
		r.Expire(Life{"n", 1}, 1, "silent", 2)
		r.SettleFence(Life{"n", 1}, FenceProved, "m/d", 3)
	}},
}

func request(node, boot string, id byte) LoginRequest {
	return LoginRequest{Node: node, BootID: boot, LoginID: LoginID{id}}
}

// TestMoves tries every operation in every state of a node: what it answers and
// where the node stands then.
func TestMoves(t *testing.T) {
	const none = reason.None
	now := Life{"n", 1}
	login := func(boot string, id byte, limit uint64) func(*Registry) reason.Reason {
		return func(r *Registry) reason.Reason { _, why := r.Login(request("n", boot, id), 9, 9, limit); return why }
	}
	expire := func(l Life, seen uint64) func(*Registry) reason.Reason {
		return func(r *Registry) reason.Reason { _, why := r.Expire(l, seen, "silent", 9); return why }
	}
	settle := func(l Life, as FenceState) func(*Registry) reason.Reason {
		return func(r *Registry) reason.Reason { _, why := r.SettleFence(l, as, "x", 9); return why }
	}
	type want = struct {
		why reason.Reason
		to  State
	}
	stay := func(why reason.Reason) [6]want {
		return [6]want{{why, 0}, {why, LoggedOut}, {why, LoggedIn}, {why, LoggedIn}, {why, Expired}, {why, Fenced}}
	}
	moves := []struct {
		name string
		do   func(*Registry) reason.Reason
		want [6]want // as in standing
	}{
		{"login", login("boot1", 9, 0), [6]want{
			{none, LoggedIn}, {none, LoggedIn}, {none, LoggedIn}, {none, LoggedIn}, {reason.NotFenced, Expired}, {none, LoggedIn},
		}},
		{"login again", login("boot1", 1, 0), [6]want{
			{none, LoggedIn}, {none, LoggedIn}, {none, LoggedIn}, {none, LoggedIn}, {reason.NotFenced, Expired}, {none, LoggedIn},
		}},
		{"login of another boot", login("boot2", 9, 0), [6]want{
			{none, LoggedIn},
			{none, LoggedIn},
			{reason.StaleIncarnation, LoggedIn},
			{reason.StaleIncarnation, LoggedIn},
			{reason.NotFenced, Expired},
			{none, LoggedIn},
		}},
		{"login of another boot with a known id", login("boot2", 1, 0), [6]want{
			{none, LoggedIn},
			{none, LoggedIn},
			{reason.StaleIncarnation, LoggedIn},
			{reason.StaleIncarnation, LoggedIn},
			{reason.NotFenced, Expired},
			{none, LoggedIn},
		}},
		{"login without arguments", login("", 0, 0), stay(reason.Invalid)},
		{"logout", func(r *Registry) reason.Reason { return r.Logout(1, 9) }, [6]want{
			{reason.NoSession, 0},
			{reason.NoSession, LoggedOut},
			{none, LoggedOut},
			{none, LoggedIn},
			{reason.NodeExpired, Expired},
			{reason.NoSession, Fenced},
		}},
		{"expire", expire(now, 1), [6]want{
			{reason.UnknownNode, 0},
			{reason.WrongState, LoggedOut},
			{none, Expired},
			{none, Expired},
			{reason.WrongState, Expired},
			{reason.WrongState, Fenced},
		}},
		{"expire too early", expire(now, 0), [6]want{
			{reason.UnknownNode, 0},
			{reason.WrongState, LoggedOut},
			{reason.Alive, LoggedIn},
			{reason.Alive, LoggedIn},
			{reason.WrongState, Expired},
			{reason.WrongState, Fenced},
		}},
		{"expire another life", expire(Life{"n", 2}, 9), [6]want{
			{reason.UnknownNode, 0},
			{reason.StaleIncarnation, LoggedOut},
			{reason.StaleIncarnation, LoggedIn},
			{reason.StaleIncarnation, LoggedIn},
			{reason.StaleIncarnation, Expired},
			{reason.StaleIncarnation, Fenced},
		}},
		{"begin", func(r *Registry) reason.Reason { return r.BeginFence(now) }, pendingOnly(Expired)},
		{"begin another life", func(r *Registry) reason.Reason { return r.BeginFence(Life{"n", 2}) }, stay(reason.NotPending)},
		{"attempt", func(r *Registry) reason.Reason { return r.NoteAttempt(now, Attempt{}) }, pendingOnly(Expired)},
		{"attempt on another life", func(r *Registry) reason.Reason { return r.NoteAttempt(Life{"n", 0}, Attempt{}) }, stay(reason.NotPending)},
		{"prove", settle(now, FenceProved), pendingOnly(Fenced)},
		{"prove another life", settle(Life{"n", 2}, FenceProved), stay(reason.NotPending)},
		{"acknowledge", settle(now, FenceAcknowledged), pendingOnly(Fenced)},
		{"lease ended", settle(now, FenceLeaseEnded), pendingOnly(Fenced)},
		{"lease ended of another life", settle(Life{"n", 2}, FenceLeaseEnded), stay(reason.NotPending)},
		{"acknowledge another life", settle(Life{"n", 0}, FenceAcknowledged), stay(reason.NotPending)},
		{"another node's fence", settle(Life{"m", 1}, FenceProved), stay(reason.NotPending)},
		{"saw", func(r *Registry) reason.Reason { r.SawNode("n", 9); return none }, stay(none)},
	}
	for _, m := range moves {
		for i, from := range standing {
			var r Registry
			from.make(&r)
			before := r.Clone()
			why := m.do(&r)
			n, known := r.Node("n")
			want := m.want[i]
			if why != want.why || n.State != want.to || known != (from.known || why == none && want.to == LoggedIn) {
				t.Errorf("%s while %s: %v, then known %v and %v; want %v, then %v", m.name, from.name, why, known, n.State, want.why, want.to)
			}
			if err := sound(&r); err != nil {
				t.Errorf("%s while %s: %v", m.name, from.name, err)
			}
			if err := moved(&before, &r); err != nil {
				t.Errorf("%s while %s: %v", m.name, from.name, err)
			}
			if why != none && show(&r) != show(&before) {
				t.Errorf("%s while %s is refused and leaves a trace:\n%s", m.name, from.name, show(&r))
			}
		}
	}
}

// pendingOnly is what an operation on a fence does: nothing but in Expired.
func pendingOnly(to State) (want [6]struct {
	why reason.Reason
	to  State
},
) {
	for i, from := range standing {
		want[i].why, want[i].to = reason.NotPending, from.state
	}
	want[4].why, want[4].to = reason.None, to
	return want
}

// TestState_names: the words for people.
func TestState_names(t *testing.T) {
	for s, want := range []string{"logged out", "logged in", "expired", "fenced", "unknown"} {
		if got := State(s).String(); got != want {
			t.Errorf("state %d is %q, want %q", s, got, want)
		}
	}
}
