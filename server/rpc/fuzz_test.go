package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// FuzzSessionRequest: whatever bytes a node sends as requests, they are decoded,
// pass the log's codec unchanged, are applied or refused, and are answered; the
// state stays sound.
func FuzzSessionRequest(f *testing.F) {
	for _, m := range corpus() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Add([]byte{0x12, 0x00, 0x12, 0x02, 0x10, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &gulmv1.SessionRequest{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		requests := requestsFromWire(m.GetRequests())
		if len(requests) != len(m.GetRequests()) {
			t.Fatalf("%d requests became %d", len(m.GetRequests()), len(requests))
		}
		_, c, err := codec.Decode(codec.Encode(1, &state.Batch{Groups: []state.Group{
			{Session: 1, Confirmed: m.GetConfirmed(), Requests: requests},
		}}))
		if err != nil {
			t.Fatalf("the log cannot carry it: %v", err)
		}
		answered(t, c, len(requests))
	})
}

// answered applies a batch to a state with one session and demands an answer for
// each request.
func answered(t *testing.T, c state.Command, requests int) {
	t.Helper()
	s := state.New()
	s.Apply(1, 1, state.BeginTerm{Term: 1, Server: "lk1"})
	login := s.Apply(2, 1, state.Login{LoginRequest: member.LoginRequest{Node: "n1", BootID: "b", LoginID: member.LoginID{1}}})
	if login.Reason != reason.None || login.Login.Number != 1 {
		t.Fatalf("login: %+v", login)
	}
	result := s.Apply(3, 1, c)
	if len(result.Replies) > requests {
		t.Errorf("%d replies to %d requests", len(result.Replies), requests)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	message := session.Message{Replies: result.Replies, Events: result.Events, Index: 3}
	for more := true; more; {
		var reply *gulmv1.SessionReply
		reply, more = nextReply(&message, noNames)
		if _, err := proto.Marshal(reply); err != nil {
			t.Error(err)
		}
	}
}

// corpus holds sound requests, and some at the edge of that.
func corpus() []*gulmv1.SessionRequest {
	long := make([]byte, lock.MaxName+1)
	return []*gulmv1.SessionRequest{
		{Attach: &gulmv1.Attach{Session: 1, LoginId: long[:16]}, Beat: 1},
		{Confirmed: 1 << 63, Requests: []*gulmv1.Request{
			{Seq: 1, Op: gulmv1.Op_OP_JOIN, Name: []byte("fs")},
			{Seq: 2, Op: gulmv1.Op_OP_LOCK, Lock: 1, Lockspace: 1, Name: []byte("r"), Mode: gulmv1.Mode_MODE_EX},
			{Seq: 3, Op: gulmv1.Op_OP_CONVERT, Lock: 1, Mode: gulmv1.Mode_MODE_PR, Flags: 1},
			{Seq: 4, Op: gulmv1.Op_OP_CANCEL, Lock: 1},
			{Seq: 5, Op: gulmv1.Op_OP_UNLOCK, Lock: 1},
			{Seq: 6, Op: gulmv1.Op_OP_LEAVE, Lockspace: 1},
		}},
		{Requests: []*gulmv1.Request{{Seq: 1, Op: 300, Mode: -1, Flags: 1 << 31, Policy: 256, Name: long, Lock: 1 << 63}}},
		{Requests: []*gulmv1.Request{{}, {Seq: 1 << 63}, {Seq: 1, Op: gulmv1.Op_OP_JOIN, Name: long[:65]}}},
	}
}

// TestRequestsFromWire_WhatIsTooBigIsNotCarried: numbers that do not fit a byte
// become one that nothing knows, and a name that is too long gets no room in the
// log.
func TestRequestsFromWire_WhatIsTooBigIsNotCarried(t *testing.T) {
	got := requestsFromWire([]*gulmv1.Request{{
		Op: gulmv1.Op(256 + int32(gulmv1.Op_OP_LOCK)), Mode: gulmv1.Mode(-3), Policy: gulmv1.Policy(1 << 20), Name: make([]byte, lock.MaxName+1),
	}})[0]
	long := requestsFromWire([]*gulmv1.Request{{Op: gulmv1.Op_OP_RANGE_CLOSE, Name: make([]byte, lock.MaxName+1)}})[0]
	if long.Op != unknownOp || long.Name != nil {
		t.Errorf("to close a name that is too long became %+v", long)
	}
	if got.Op != 255 || got.Mode != 255 || got.Policy != 255 || got.Name != nil {
		t.Errorf("became %+v", got)
	}
}

// TestNextReply_IndexComesLast: a message that is sent in parts tells how far it
// goes, and which beats are good, with its last part only, and loses nothing.
func TestNextReply_IndexComesLast(t *testing.T) {
	m := session.Message{
		Replies: make([]state.Reply, 2*itemsPerMessage+1), Events: make([]lock.Event, itemsPerMessage+1), Index: 9, Beat: 4,
	}
	for i := range m.Replies {
		m.Replies[i].Seq = uint64(i)
	}
	next, events, parts := uint64(0), 0, 0
	for more := true; more; parts++ {
		var r *gulmv1.SessionReply
		r, more = nextReply(&m, noNames)
		if more && (r.GetIndex() != 0 || r.GetBeat() != 0) || !more && (r.GetIndex() != 9 || r.GetBeat() != 4) {
			t.Errorf("part %d has index %d and beat %d", parts, r.GetIndex(), r.GetBeat())
		}
		if len(r.GetReplies()) > itemsPerMessage || len(r.GetEvents()) > itemsPerMessage {
			t.Errorf("part %d has %d replies and %d events", parts, len(r.GetReplies()), len(r.GetEvents()))
		}
		for _, reply := range r.GetReplies() {
			if reply.GetSeq() != next || events > 0 {
				t.Fatalf("reply %d came where %d was due, after %d events", reply.GetSeq(), next, events)
			}
			next++
		}
		events += len(r.GetEvents())
	}
	if next != 2*itemsPerMessage+1 || events != itemsPerMessage+1 {
		t.Errorf("%d replies and %d events arrived", next, events)
	}
}

// noNames knows nobody.
func noNames(in []lock.RangeConflict) []string { return make([]string, len(in)) }
