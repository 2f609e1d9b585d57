package codec

import (
	"fmt"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// setSessionBody is setBody for the commands by which sessions of nodes and
// servers come and go.
func setSessionBody(m *raftlogv1.Command, c state.Command) {
	switch c := c.(type) {
	case state.Login:
		m.Body = &raftlogv1.Command_Login{Login: &raftlogv1.Login{
			Node: utf8(c.Node), BootId: utf8(c.BootID), LoginId: c.LoginID[:], Process: utf8(c.Process), ExpiryMs: c.Expiry,
			WatchdogMs: c.Watchdog, Flags: uint32(c.Flags),
			Replaces: c.Replaces,
		}}
	case state.Logout:
		m.Body = &raftlogv1.Command_Logout{Logout: &raftlogv1.Logout{Session: c.Session}}
	case state.ServerLeft:
		m.Body = &raftlogv1.Command_ServerLeft{ServerLeft: &raftlogv1.ServerLeft{Server: utf8(c.Server)}}
	case state.ServerEntered:
		m.Body = &raftlogv1.Command_ServerEntered{ServerEntered: &raftlogv1.ServerEntered{
			Server: utf8(c.Server), BootId: utf8(c.BootID), Replaces: c.Replaces, Flags: uint32(c.Flags),
		}}
	case state.EndSession:
		m.Body = &raftlogv1.Command_EndSession{EndSession: &raftlogv1.EndSession{
			Term: c.Term, Session: c.Session, SeenIndex: c.Seen, SilentMs: c.Silent,
		}}
	}
}

// sessionBodyOf is bodyOf for the same commands, nil if it is none of them.
func sessionBodyOf(m *raftlogv1.Command) (state.Command, error) {
	switch b := m.GetBody().(type) {
	case *raftlogv1.Command_Login:
		req := member.LoginRequest{Node: b.Login.GetNode(), BootID: b.Login.GetBootId(), Process: b.Login.GetProcess(), Expiry: b.Login.GetExpiryMs()}
		req.Watchdog = b.Login.GetWatchdogMs()
		id := b.Login.GetLoginId()
		if copy(req.LoginID[:], id) != len(req.LoginID) || len(id) != len(req.LoginID) {
			return nil, fmt.Errorf("command is damaged: login id of %d bytes", len(id))
		}
		var err error
		req.Replaces = b.Login.GetReplaces()
		req.Flags, err = flagsFromLog(b.Login.GetFlags())
		return state.Login{LoginRequest: req}, err
	case *raftlogv1.Command_Logout:
		return state.Logout{Session: b.Logout.GetSession()}, nil
	case *raftlogv1.Command_ServerLeft:
		return state.ServerLeft{Server: b.ServerLeft.GetServer()}, nil
	case *raftlogv1.Command_ServerEntered:
		x := b.ServerEntered
		flags, err := flagsFromLog(x.GetFlags())
		return state.ServerEntered{Server: x.GetServer(), BootID: x.GetBootId(), Replaces: x.GetReplaces(), Flags: flags}, err
	case *raftlogv1.Command_EndSession:
		x := b.EndSession
		return state.EndSession{Term: x.GetTerm(), Session: x.GetSession(), Seen: x.GetSeenIndex(), Silent: x.GetSilentMs()}, nil
	}
	return nil, nil
}

// flagsFromLog refuses flags of which no version of a session knows.
func flagsFromLog(n uint32) (member.SessionFlags, error) {
	if n > 0xff {
		return 0, fmt.Errorf("command is damaged: session flags %#x", n)
	}
	return member.SessionFlags(n), nil
}
