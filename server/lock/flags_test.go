package lock

import (
	"bytes"
	"testing"

	"lock_gulmd/server/reason"
)

// TestQueCvt_everyPair converts with QUECVT from each mode to each: the DLM's
// table says which are refused.
func TestQueCvt_everyPair(t *testing.T) {
	for from := range Mode(modes) {
		for to := range Mode(modes) {
			table := opened(t, 1)
			lockIn(table, 1, from)
			want := Reply{Outcome: Granted, Mode: to, Token: 2}
			if !claimsMore[from][to] {
				want = refuse(reason.Invalid)
			}
			if got := convert(table, 1, to, QueCvt); !sameReply(got, want) {
				t.Errorf("%v to %v: %+v, want %+v", from, to, got, want)
			}
		}
	}
}

// TestFlags_everyBit makes each request with each single flag.
func TestFlags_everyBit(t *testing.T) {
	for bit := range 32 {
		flag := Flags(1) << bit
		if flag == Timeout {
			continue // goes with a time only: see TestTerms
		}
		fresh := func(mode Mode) Reply {
			return opened(t, 1).Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: mode, Flags: flag})
		}
		held := func() *Table {
			table := opened(t, 1)
			lockIn(table, 1, NL)
			return table
		}
		check := func(what string, got Reply, known bool) {
			t.Helper()
			if (got.Reason == reason.Invalid) == known {
				t.Errorf("%s with flag %x: %+v", what, uint32(flag), got)
			}
		}
		check("lock NL", fresh(NL), naiveLockOK&flag != 0)
		check("lock EX", fresh(EX), naiveLockOK&flag != 0 && flag != Expedite)
		check("convert", convert(held(), 1, EX, flag), naiveConvOK&flag != 0)
		check("unlock", held().Unlock(1, UnlockRequest{ID: 1, Flags: flag}), naiveDropOK&flag != 0)
	}
}

// namer returns a name, or a value, of n bytes.
func namer(n int) []byte { return bytes.Repeat([]byte("n"), n) }

func askLock(id ID, space uint32, n int, m Mode, f Flags) func(*Table) Reply {
	return func(t *Table) Reply {
		return t.Lock(1, LockRequest{ID: id, Lockspace: space, Name: namer(n), Mode: m, Flags: f})
	}
}

func askConvert(id ID, m Mode, f Flags, value int) func(*Table) Reply {
	return func(t *Table) Reply {
		return t.Convert(1, ConvertRequest{ID: id, Mode: m, Flags: f, Value: namer(value)})
	}
}

func askUnlock(id ID, f Flags, value int) func(*Table) Reply {
	return func(t *Table) Reply { return t.Unlock(1, UnlockRequest{ID: id, Flags: f, Value: namer(value)}) }
}

func askJoin(s Session, n int, r JoinRequest) func(*Table) Reply {
	return func(t *Table) Reply { r.Name = namer(n); return t.Join(s, r) }
}

// arguments are requests on argumentsTable, and why they are refused.
var arguments = []struct {
	name string
	do   func(*Table) Reply
	want reason.Reason
}{
	{"a number in use", askLock(1, 1, 1, NL, 0), reason.Invalid},
	{"number 0", askLock(0, 1, 1, NL, 0), reason.Invalid},
	{"the largest number", askLock(1<<64-1, 1, 1, NL, 0), reason.None},
	{"a number that was denied", askLock(4, 1, 1, NL, 0), reason.Invalid},
	{"no name", askLock(9, 1, 0, NL, 0), reason.Invalid},
	{"the longest name", askLock(9, 1, 255, NL, 0), reason.None},
	{"a longer name", askLock(9, 1, 256, NL, 0), reason.Invalid},
	{"mode 6", askLock(9, 1, 1, 6, 0), reason.Invalid},
	{"mode 255", askLock(9, 1, 1, 255, 0), reason.Invalid},
	{"EXPEDITE of CR", askLock(9, 1, 1, CR, Expedite), reason.Invalid},
	{"EXPEDITE with NOQUEUE", askLock(9, 1, 1, NL, Expedite|NoQueue), reason.Invalid},
	{"EXPEDITE", askLock(9, 1, 1, NL, Expedite), reason.None},
	{"QUECVT of a new lock", askLock(9, 1, 1, EX, QueCvt), reason.Invalid},
	{"lockspace 0", askLock(9, 0, 1, NL, 0), reason.NoLockspace},
	{"no such lockspace", askLock(9, 9, 1, NL, 0), reason.NoLockspace},
	{"another's lockspace", askLock(9, 2, 1, NL, 0), reason.NoLockspace},
	{"no orphan", askLock(9, 1, 1, NL, Orphan), reason.NotHeld},
	{"an orphan of another node", func(t *Table) Reply {
		return t.Lock(1, LockRequest{ID: 9, Lockspace: 1, Name: []byte("o"), Mode: PR, Flags: Orphan})
	}, reason.NotHeld},

	{"convert what is not there", askConvert(9, NL, 0, 0), reason.NotHeld},
	{"convert what was denied", askConvert(4, NL, 0, 0), reason.NotHeld},
	{"convert to mode 6", askConvert(1, 6, 0, 0), reason.Invalid},
	{"CONVDEADLK with NOQUEUE", askConvert(1, NL, ConvDeadlk|NoQueue, 0), reason.Invalid},
	{"QUECVT downwards", askConvert(1, NL, QueCvt, 0), reason.Invalid},
	{"a value too long", askConvert(1, NL, ValBlk, 33), reason.Invalid},
	{"a value too long that is not written", askConvert(1, NL, 0, 33), reason.Invalid},
	{"the longest value", askConvert(1, NL, ValBlk, 32), reason.None},
	{"convert what waits", askConvert(2, NL, 0, 0), reason.Busy},
	{"convert what converts", askConvert(3, NL, 0, 0), reason.Busy},
	{"convert what converts to mode 6", askConvert(3, 6, 0, 0), reason.Invalid},

	{"unlock what is not there", askUnlock(9, 0, 0), reason.NotHeld},
	{"unlock what is not there with a wrong flag", askUnlock(9, NoQueue, 0), reason.Invalid},
	{"unlock with a value too long", askUnlock(1, ValBlk, 33), reason.Invalid},
	{"unlock with the longest value", askUnlock(1, ValBlk, 32), reason.None},
	{"unlock what waits", askUnlock(2, 0, 0), reason.None},
	{"unlock what was denied", askUnlock(4, 0, 0), reason.None},

	{"join without a name", askJoin(1, 0, JoinRequest{}), reason.Invalid},
	{"join with the longest name", askJoin(1, 64, JoinRequest{}), reason.None},
	{"join with a longer name", askJoin(1, 65, JoinRequest{}), reason.Invalid},
	{"join with no such policy", askJoin(1, 1, JoinRequest{Policy: policies}), reason.Invalid},
	{"join under a lease without a time", askJoin(1, 1, JoinRequest{Policy: PolicyLease}), reason.Lease},
	{"join under a lease", askJoin(1, 1, JoinRequest{Policy: PolicyLease, Lease: 1}), reason.None},
	{"join under a lease that is too short", askJoin(1, 1, JoinRequest{Policy: PolicyLease, Lease: 9, MinLease: 10}), reason.Lease},
	{"join under the shortest lease", askJoin(1, 1, JoinRequest{Policy: PolicyLease, Lease: 10, MinLease: 10}), reason.None},
	{"join under the longest lease", askJoin(1, 1, JoinRequest{Policy: PolicyLease, Lease: MaxLease}), reason.None},
	{"join under a longer lease", askJoin(1, 1, JoinRequest{Policy: PolicyLease, Lease: MaxLease + 1}), reason.Lease},
	{"join with a time under a fence", askJoin(1, 1, JoinRequest{Lease: 10}), reason.Lease},
	{"join with a time under a word", askJoin(1, 1, JoinRequest{Policy: PolicyManual, Lease: 10}), reason.Lease},
	{"join both ways", askJoin(1, 1, JoinRequest{Exclusive: true, Existing: true}), reason.Invalid},
	{"join what exists not", askJoin(1, 1, JoinRequest{Existing: true}), reason.NoLockspace},
	{"join with no session", askJoin(9, 1, JoinRequest{}), reason.NoSession},
	{"leave what is not joined", func(t *Table) Reply { return t.Leave(1, 2, true) }, reason.NoLockspace},
	{"leave with locks", func(t *Table) Reply { return t.Leave(1, 1, false) }, reason.InUse},
	{"a lock of no session", func(t *Table) Reply {
		return t.Lock(9, LockRequest{ID: 1, Lockspace: 1, Name: namer(1)})
	}, reason.NoSession},
}

// TestArguments refuses each impossible request with its reason, which changes
// nothing, and takes the nearest possible one.
func TestArguments(t *testing.T) {
	for _, c := range arguments {
		table := argumentsTable(t)
		before := imageOf(table)
		got := c.do(table)
		if got.Reason != c.want || (got.Outcome == Refused) != (c.want != reason.None) {
			t.Errorf("%s: %+v, want %v", c.name, got, c.want)
		}
		if c.want != reason.None && !sameImage(before, imageOf(table)) {
			t.Errorf("%s: refused, and changed something", c.name)
		}
	}
}

// argumentsTable returns a table with session 1, whose lock 1 is held in EX, 2
// waits, 3 converts, and 4 was denied; lockspace 2 is session 2's; and there is
// an orphan of node 3.
func argumentsTable(t *testing.T) *Table {
	t.Helper()
	table := opened(t, 3)
	ask := func(s Session, id ID, name string, m Mode, f Flags) {
		table.Lock(s, LockRequest{ID: id, Lockspace: 1, Name: []byte(name), Mode: m, Flags: f})
	}
	table.Join(2, JoinRequest{Name: []byte("home")})
	lockIn(table, 1, EX)
	ask(2, 2, "a", EX, 0)
	ask(1, 2, "a", EX, 0)
	ask(2, 3, "b", PR, 0)
	ask(1, 3, "b", PR, 0)
	table.Convert(1, ConvertRequest{ID: 3, Mode: EX})
	ask(1, 4, "a", EX, 0)
	table.Deny(Denial{Session: 1, ID: 4, Reason: reason.TimedOut})
	ask(3, 1, "o", PR, Persistent)
	table.Close(3)
	if err := deepCheck(table); err != nil {
		t.Fatal(err)
	}
	return table
}
