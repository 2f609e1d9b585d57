package codec

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
)

// records takes a snapshot apart; joined puts it together.
func records(t *testing.T, data []byte) []*raftlogv1.Record {
	t.Helper()
	var out []*raftlogv1.Record
	for len(data) > 0 {
		n, m := binary.Uvarint(data)
		r := &raftlogv1.Record{}
		if err := proto.Unmarshal(data[m:m+int(n)], r); err != nil {
			t.Fatal(err)
		}
		out, data = append(out, r), data[m+int(n):]
	}
	return out
}

func joined(t *testing.T, records []*raftlogv1.Record) []byte {
	t.Helper()
	var out []byte
	for _, r := range records {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(binary.AppendUvarint(out, uint64(len(b))), b...)
	}
	return out
}

// found returns the first record of a state that is like that: the state that the
// tests here spoil has one of each.
func found(rs []*raftlogv1.Record, has func(*raftlogv1.Record) bool) *raftlogv1.Record {
	return rs[slices.IndexFunc(rs, has)]
}

func nodeIn(rs []*raftlogv1.Record) *raftlogv1.Node {
	return found(rs, func(r *raftlogv1.Record) bool { return r.GetNode() != nil }).GetNode()
}

func fenceIn(rs []*raftlogv1.Record) *raftlogv1.Fence {
	return found(rs, func(r *raftlogv1.Record) bool { return len(r.GetFence().GetAttempts()) > 0 }).GetFence()
}

func ledgerIn(rs []*raftlogv1.Record) *raftlogv1.Ledger {
	return found(rs, func(r *raftlogv1.Record) bool {
		l := r.GetNode().GetLedger()
		return len(l.GetOutlets()) > 0 && len(l.GetManual()) > 0
	}).GetNode().GetLedger()
}

func sessionIn(rs []*raftlogv1.Record) *raftlogv1.Session {
	return found(rs, func(r *raftlogv1.Record) bool { return len(r.GetSession().GetReplies()) > 0 }).GetSession()
}

func spaceIn(rs []*raftlogv1.Record) *raftlogv1.Lockspace {
	return found(rs, func(r *raftlogv1.Record) bool { return r.GetLockspace() != nil }).GetLockspace()
}

func resourceIn(rs []*raftlogv1.Record) *raftlogv1.Resource {
	return found(rs, func(r *raftlogv1.Record) bool { return r.GetResources() != nil }).GetResources().GetResources()[0]
}

func fileIn(rs []*raftlogv1.Record) *raftlogv1.RangeFile {
	waited := func(f *raftlogv1.RangeFile) bool { return len(f.GetRanges()) > 0 && len(f.GetWaits()) > 0 }
	files := found(rs, func(r *raftlogv1.Record) bool {
		return slices.ContainsFunc(r.GetRangeFiles().GetFiles(), waited)
	}).GetRangeFiles().GetFiles()
	return files[slices.IndexFunc(files, waited)]
}

// later gives a message a field that this version does not know.
func later(m proto.Message) {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
}

// spoilt is something that a snapshot must not be.
type spoilt struct {
	name  string
	spoil func(rs []*raftlogv1.Record) []*raftlogv1.Record
}

// misplaced are records out of place, futures are fields of a later version, beyond
// are numbers out of their range.
var (
	misplaced = []spoilt{
		{"no header", func(rs []*raftlogv1.Record) []*raftlogv1.Record { return rs[1:] }},
		{"two headers", func(rs []*raftlogv1.Record) []*raftlogv1.Record { return append(rs[:1:1], rs...) }},
		{"another format", func(rs []*raftlogv1.Record) []*raftlogv1.Record { rs[0].GetHeader().Format++; return rs }},
		{"no footer", func(rs []*raftlogv1.Record) []*raftlogv1.Record { return rs[:len(rs)-1] }},
		{"a wrong count", func(rs []*raftlogv1.Record) []*raftlogv1.Record { rs[len(rs)-1].GetFooter().Records++; return rs }},
		{"a record missing", func(rs []*raftlogv1.Record) []*raftlogv1.Record { return append(rs[:1:1], rs[2:]...) }},
		{"a record after the footer", func(rs []*raftlogv1.Record) []*raftlogv1.Record { return append(rs, rs[1]) }},
		{"an empty record", func(rs []*raftlogv1.Record) []*raftlogv1.Record { proto.Reset(rs[1]); return rs }},
		{"a node after the resources", func(rs []*raftlogv1.Record) []*raftlogv1.Record {
			return append(rs[:len(rs)-1:len(rs)-1], rs[1], rs[len(rs)-1])
		}},
		{"a fence before its node", func(rs []*raftlogv1.Record) []*raftlogv1.Record {
			at := slices.IndexFunc(rs, func(r *raftlogv1.Record) bool { return r.GetFence() != nil })
			rs[at], rs[at-1] = rs[at-1], rs[at]
			return rs
		}},
	}
	futures = []spoilt{
		{"later record", with(func(rs []*raftlogv1.Record) { later(rs[1]) })},
		{"later header", with(func(rs []*raftlogv1.Record) { later(rs[0].GetHeader()) })},
		{"later limits", with(func(rs []*raftlogv1.Record) { later(rs[0].GetHeader().GetLimits()) })},
		{"later node", with(func(rs []*raftlogv1.Record) { later(nodeIn(rs)) })},
		{"later fence", with(func(rs []*raftlogv1.Record) { later(fenceIn(rs)) })},
		{"later ledger", with(func(rs []*raftlogv1.Record) { later(ledgerIn(rs)) })},
		{"later outlet", with(func(rs []*raftlogv1.Record) { later(ledgerIn(rs).GetOutlets()[0]) })},
		{"later fence by hand", with(func(rs []*raftlogv1.Record) { later(ledgerIn(rs).GetManual()[0]) })},
		{"later attempt", with(func(rs []*raftlogv1.Record) { later(fenceIn(rs).GetAttempts()[0]) })},
		{"later session", with(func(rs []*raftlogv1.Record) { later(sessionIn(rs)) })},
		{"later reply", with(func(rs []*raftlogv1.Record) { later(sessionIn(rs).GetReplies()[0]) })},
		{"later lockspace", with(func(rs []*raftlogv1.Record) { later(spaceIn(rs)) })},
		{"later resource", with(func(rs []*raftlogv1.Record) { later(resourceIn(rs)) })},
		{"later lock", with(func(rs []*raftlogv1.Record) { later(resourceIn(rs).GetLocks()[0]) })},
		{"later range file", with(func(rs []*raftlogv1.Record) { later(fileIn(rs)) })},
		{"later range", with(func(rs []*raftlogv1.Record) { later(fileIn(rs).GetRanges()[0]) })},
		{"later owner of a range", with(func(rs []*raftlogv1.Record) { later(fileIn(rs).GetRanges()[0].GetOwner()) })},
		{"later request for a range", with(func(rs []*raftlogv1.Record) { later(fileIn(rs).GetWaits()[0]) })},
		{"later footer", with(func(rs []*raftlogv1.Record) { later(rs[len(rs)-1].GetFooter()) })},
	}
	beyond = []spoilt{
		{"held without a fence", with(func(rs []*raftlogv1.Record) { ledgerIn(rs).Held = true; nodeIn(rs).State = 1 })},
		{"outlet twice", with(func(rs []*raftlogv1.Record) { l := ledgerIn(rs); l.Outlets = append(l.Outlets, l.GetOutlets()[0]) })},
		{"outlet right and wrong", with(func(rs []*raftlogv1.Record) { o := ledgerIn(rs).GetOutlets()[0]; o.On, o.Wrong = true, true })},
		{"past fence of the future", with(func(rs []*raftlogv1.Record) {
			ledgerIn(rs).Past = []*raftlogv1.Fence{{Incarnation: 1 << 40, State: 2}}
		})},
		{"kind of a range", with(func(rs []*raftlogv1.Record) { fileIn(rs).GetRanges()[0].Kind += 256 })},
		{"kind of a request", with(func(rs []*raftlogv1.Record) { fileIn(rs).GetWaits()[0].Kind += 256 })},
		{"token of a range", with(func(rs []*raftlogv1.Record) { fileIn(rs).GetRanges()[0].Token = rs[0].GetHeader().GetTokens() + 1 })},
		{"order of a request", with(func(rs []*raftlogv1.Record) { fileIn(rs).GetWaits()[0].Order = rs[0].GetHeader().GetRangeOrders() + 1 })},
		{"a range of no owner", with(func(rs []*raftlogv1.Record) { fileIn(rs).GetRanges()[0].Owner = nil })},
		{"a file of no lockspace", with(func(rs []*raftlogv1.Record) { fileIn(rs).Lockspace = 99 })},
		{"node state", with(func(rs []*raftlogv1.Record) { nodeIn(rs).State += 256 })},
		{"fence state", with(func(rs []*raftlogv1.Record) { fenceIn(rs).State += 256 })},
		{"login id too short", with(func(rs []*raftlogv1.Record) { sessionIn(rs).LoginId = sessionIn(rs).GetLoginId()[:15] })},
		{"login id too long", with(func(rs []*raftlogv1.Record) { sessionIn(rs).LoginId = append(sessionIn(rs).GetLoginId(), 0) })},
		{"reply outcome", with(func(rs []*raftlogv1.Record) { sessionIn(rs).GetReplies()[0].Outcome += 256 })},
		{"reply reason", with(func(rs []*raftlogv1.Record) { sessionIn(rs).GetReplies()[0].Reason += 256 })},
		{"reply mode", with(func(rs []*raftlogv1.Record) { sessionIn(rs).GetReplies()[0].Mode += 256 })},
		{"a lease under a fence", with(func(rs []*raftlogv1.Record) { spaceIn(rs).LeaseMs = 10 })},
		{"no lease under a lease", with(func(rs []*raftlogv1.Record) { spaceIn(rs).Policy = uint32(lock.PolicyLease) })},
		{"a lease that is too long", with(func(rs []*raftlogv1.Record) {
			spaceIn(rs).Policy, spaceIn(rs).LeaseMs = uint32(lock.PolicyLease), lock.MaxLease+1
		})},
		{"no such policy", with(func(rs []*raftlogv1.Record) { spaceIn(rs).Policy = uint32(lock.PolicyLease) + 1 })},
		{"policy", with(func(rs []*raftlogv1.Record) { spaceIn(rs).Policy += 256 })},
		{"queue", with(func(rs []*raftlogv1.Record) { resourceIn(rs).GetLocks()[0].Queue += 256 })},
		{"granted", with(func(rs []*raftlogv1.Record) { resourceIn(rs).GetLocks()[0].Granted += 256 })},
		{"requested", with(func(rs []*raftlogv1.Record) { resourceIn(rs).GetLocks()[0].Requested += 256 })},
		{"blocking", with(func(rs []*raftlogv1.Record) { resourceIn(rs).GetLocks()[0].Blocking += 256 })},
	}
)

// TestSnapshot_strange: records out of place, fields of a later version and
// numbers beyond their range are refused.
func TestSnapshot_strange(t *testing.T) {
	data := written(t, randomState(6, 900))
	for _, c := range slices.Concat(misplaced, futures, beyond) {
		if _, err := ReadSnapshot(bytes.NewReader(joined(t, c.spoil(records(t, data))))); err == nil {
			t.Errorf("%s: read", c.name)
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(joined(t, records(t, data)))); err != nil {
		t.Errorf("unspoilt: %v", err)
	}
}

// with spoils records in place.
func with(spoil func([]*raftlogv1.Record)) func([]*raftlogv1.Record) []*raftlogv1.Record {
	return func(rs []*raftlogv1.Record) []*raftlogv1.Record { spoil(rs); return rs }
}
