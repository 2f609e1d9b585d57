package codec

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// examples has one of each command, with every field set to a value of its own.
func examples() []state.Command {
	life := member.Life{Node: "nodé1", Incarnation: 3}
	return []state.Command{
		state.BeginTerm{Term: 7, Server: "server1", Limits: state.Limits{
			Locks: 1_000_000, Resources: 200_000, Lockspaces: 30, Sessions: 4000, InFlight: 500,
		}},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 15, Op: state.OpJoin, Name: []byte("app"), Policy: lock.PolicyLease, Lease: 1 << 20},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
				{Seq: 13, Op: state.OpRangeLock, Lock: 11, Lockspace: 2, Name: []byte("f"), Mode: lock.PR, Range: state.Range{
					Owner: 1 << 63, Start: 4096, End: lock.RangeMax, Skip: 256,
				}},
				{Seq: 14, Op: state.OpGulm, Lock: 14, Lockspace: 2, Name: []byte("g"), Sub: 1<<64 - 1, Node: []byte("n")},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41, Requests: []state.Request{
				{
					Seq: 1, Op: state.OpLockSet, Lock: 90, Lockspace: 2, Flags: lock.Timeout,
					Terms: lock.Terms{Owner: 1 << 60, Timeout: 5000}, Entries: []lock.SetEntry{
						{ID: 91, Name: []byte("a\x00"), Mode: lock.PR, Flags: lock.ValBlk},
						{ID: 92, Name: []byte("b"), Mode: lock.EX, Flags: lock.NoCallbacks},
					},
				},
			}},
		}},
		state.Login{LoginRequest: member.LoginRequest{
			Node: "nodé1", BootID: "c0ffee", LoginID: member.LoginID{15: 1, 0: 0xff}, Process: "lockd", Expiry: 6000,
			Watchdog: 10_000, Flags: member.Unimportant | member.Container, Replaces: 41,
		}},
		state.Logout{Session: 11},
		state.Expire{Term: 12, Life: life, Session: 25, Seen: 13, Silent: 14, Reason: "session 1 (lockd) was silent for 6s", Operator: "alice"},
		state.FenceBegin{Term: 15, Life: life},
		state.FenceAttempted{Term: 16, Life: life, Attempt: member.Attempt{
			Method: "power", Device: "apc1", Agent: "fence_apc off", Outcome: "failed", Output: "no\nanswer", Start: 17, Duration: 18,
			Open: true, Late: true,
		}},
		state.FenceProved{Term: 19, Life: life, By: "power/apc1", Power: true},
		state.FenceAcknowledged{Term: 20, Life: life, Operator: "root"},
		state.Check{Index: 21, Digest: 1 << 63},
		state.ServerLeft{Server: "server2"},
		state.ServerEntered{Server: "server3", BootID: "b007", Replaces: 42, Flags: member.Container},
		state.Deny{
			Term: 22, Session: 23, Lock: 24, Reason: reason.Deadlock, Since: 25,
			Cycle: []lock.Step{{Session: 23, ID: 24, BySession: 26, ByOwner: 1<<63 | 27}, {Session: 26, ID: 28, BySession: 23, ByID: 29}},
		},
		state.EndSession{Term: 43, Session: 44, Seen: 45, Silent: 46},
		state.PauseFencing{Term: 47, Reason: "9 of 12 nodes vanished", Operator: "bob"},
		state.ResumeFencing{Term: 48, Operator: "carol", Reason: "the switch is back"},
		state.ForgetVanished{Term: 49, Lives: []member.Life{life, {Node: "node2", Incarnation: 50}}},
		state.FenceStarted{Term: 26, Life: life, Method: "power", Device: "apc1", Agent: "fence_apc off", Start: 27},
		state.FenceSeen{Term: 28, Node: "nodé1", Alive: 3, Outlets: []member.Outlet{
			{Device: "apc1", Plug: "7", Print: "0123456789abcdef", Power: "on", Stamp: 29, On: true, Wrong: true, Reason: "no route"},
			{Device: "bmc", Power: "no answer"},
		}},
		state.FenceReleased{Term: 30, Life: life},
		state.LeaseEnded{Term: 61, Life: life, Silent: 62},
		state.FenceManual{Node: "nodé1", ManualFence: member.ManualFence{
			Operator: "root@lk1", Stamp: 31, Incarnation: 3, Fenced: true, By: "power/apc1",
			Attempts: []member.Attempt{{Method: "power", Device: "apc1", Outcome: "ok", Start: 32}},
		}},
	}
}

// earlier has the examples of releases that did not know the newest fields, oldest
// first. When a command gets a field, its example moves here as it was.
func earlier() []state.Command {
	life := member.Life{Node: "nodé1", Incarnation: 3}
	return []state.Command{
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41},
		}},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41},
		}},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
				{Seq: 13, Op: state.OpRangeLock, Lock: 11, Lockspace: 2, Name: []byte("f"), Mode: lock.PR, Range: state.Range{
					Owner: 1 << 63, Start: 4096, End: lock.RangeMax, Skip: 256,
				}},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41},
		}},
		state.Login{LoginRequest: member.LoginRequest{
			Node: "nodé1", BootID: "c0ffee", LoginID: member.LoginID{15: 1, 0: 0xff}, Process: "lockd", Expiry: 6000,
		}},
		state.Login{LoginRequest: member.LoginRequest{
			Node: "nodé1", BootID: "c0ffee", LoginID: member.LoginID{15: 1, 0: 0xff}, Process: "lockd", Expiry: 6000,
			Watchdog: 10_000,
		}},
		state.Expire{Term: 12, Life: life, Session: 25, Seen: 13, Silent: 14, Reason: "session 1 (lockd) was silent for 6s"},
		state.FenceProved{Term: 19, Life: life, By: "power/apc1"},
		state.ServerEntered{Server: "server3"},
		state.FenceAttempted{Term: 16, Life: member.Life{Node: "nodé1", Incarnation: 3}, Attempt: member.Attempt{
			Method: "power", Device: "apc1", Agent: "fence_apc off", Outcome: "failed", Output: "no\nanswer", Start: 17, Duration: 18,
		}},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41},
		}},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
				{Seq: 13, Op: state.OpRangeLock, Lock: 11, Lockspace: 2, Name: []byte("f"), Mode: lock.PR, Range: state.Range{
					Owner: 1 << 63, Start: 4096, End: lock.RangeMax, Skip: 256,
				}},
				{Seq: 14, Op: state.OpGulm, Lock: 14, Lockspace: 2, Name: []byte("g"), Sub: 1<<64 - 1, Node: []byte("n")},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41},
		}},
		state.Deny{Term: 22, Session: 23, Lock: 24, Reason: reason.TimedOut},
		state.Deny{
			Term: 22, Session: 23, Lock: 24, Reason: reason.Deadlock, Since: 25,
			Cycle: []lock.Step{{Session: 23, ID: 24, BySession: 26, ByID: 27}, {Session: 26, ID: 28, BySession: 23, ByID: 29}},
		},
		&state.Batch{Groups: []state.Group{
			{Session: 5, Confirmed: 8, Requests: []state.Request{
				{Seq: 9, Op: state.OpLock, Lock: 10, Lockspace: 2, Name: []byte("G\x00\xff\x01"), Mode: lock.EX, Flags: lock.NoQueue | lock.NoCallbacks},
				{Seq: 10, Op: state.OpJoin, Name: []byte("gfs"), Policy: 1, ValueLen: 64},
				{Seq: 11, Op: state.OpUnlock, Lock: 10, Flags: lock.ValBlk, Value: []byte("v\x00\xff")},
				{Seq: 12, Op: state.OpMount, Lockspace: 2, Journals: 300, JID: 7},
				{Seq: 13, Op: state.OpRangeLock, Lock: 11, Lockspace: 2, Name: []byte("f"), Mode: lock.PR, Range: state.Range{
					Owner: 1 << 63, Start: 4096, End: lock.RangeMax, Skip: 256,
				}},
				{Seq: 14, Op: state.OpGulm, Lock: 14, Lockspace: 2, Name: []byte("g"), Sub: 1<<64 - 1, Node: []byte("n")},
			}},
			{Session: 1 << 40, Confirmed: 1 << 41, Requests: []state.Request{
				{
					Seq: 1, Op: state.OpLockSet, Lock: 90, Lockspace: 2, Flags: lock.Timeout,
					Terms: lock.Terms{Owner: 1 << 60, Timeout: 5000}, Entries: []lock.SetEntry{
						{ID: 91, Name: []byte("a\x00"), Mode: lock.PR, Flags: lock.ValBlk},
						{ID: 92, Name: []byte("b"), Mode: lock.EX, Flags: lock.NoCallbacks},
					},
				},
			}},
		}},
	}
}

// commandTypes returns the names of the types that package state declares to be
// commands.
func commandTypes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../state/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no package state: %v", err)
	}
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "command" {
				names = append(names, receiver(f))
			}
		}
	}
	slices.Sort(names)
	return names
}

func receiver(f *ast.FuncDecl) string {
	recv := f.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	return recv.(*ast.Ident).Name
}

func typeName(c state.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", c), "*"), "state.")
}

// TestExamples_whole: there is an example of every command, with every field
// set, so that none is forgotten in what follows.
func TestExamples_whole(t *testing.T) {
	var have []string
	for _, c := range examples() {
		have = append(have, typeName(c))
		v := reflect.Indirect(reflect.ValueOf(c))
		if zero := zeroField(v, typeName(c)); zero != "" && typeName(c) != "Batch" {
			t.Errorf("%s is not set in its example", zero)
		}
	}
	slices.Sort(have)
	if want := commandTypes(t); len(want) < 12 || !slices.Equal(have, want) {
		t.Errorf("commands without example: %s", cmp.Diff(want, have))
	}
	batch := examples()[1].(*state.Batch)
	for i := range reflect.TypeFor[state.Request]().NumField() {
		set := slices.ContainsFunc(slices.Concat(batch.Groups[0].Requests, batch.Groups[1].Requests), func(r state.Request) bool { return !reflect.ValueOf(r).Field(i).IsZero() })
		if !set {
			t.Errorf("Request.%s is not set in an example", reflect.TypeFor[state.Request]().Field(i).Name)
		}
	}
}

// zeroField returns the path of a field that has its zero value.
func zeroField(v reflect.Value, path string) string {
	if v.Kind() != reflect.Struct {
		if v.IsZero() {
			return path
		}
		return ""
	}
	for i := range v.NumField() {
		if zero := zeroField(v.Field(i), path+"."+v.Type().Field(i).Name); zero != "" {
			return zero
		}
	}
	return ""
}

// empties has each command without anything in it.
func empties() []state.Command {
	var out []state.Command
	for _, c := range examples() {
		if _, ok := c.(*state.Batch); ok {
			out = append(out, &state.Batch{})
			continue
		}
		out = append(out, reflect.Zero(reflect.TypeOf(c)).Interface().(state.Command))
	}
	return out
}

// TestCommand_roundTrip: what is encoded comes back, full or empty.
func TestCommand_roundTrip(t *testing.T) {
	for _, c := range append(examples(), empties()...) {
		for _, stamp := range []int64{0, 1, 1 << 60, -5} {
			data := Encode(stamp, c)
			at, again, err := Decode(data)
			if err != nil || at != stamp || !reflect.DeepEqual(c, again) {
				t.Errorf("%T at %d: %v, at %d: %s", c, stamp, err, at, cmp.Diff(c, again))
			}
			if again := Encode(stamp, c); string(again) != string(data) {
				t.Errorf("%T has two encodings", c)
			}
		}
	}
}

// TestCommand_text: what is no UTF-8 is replaced, never refused.
func TestCommand_text(t *testing.T) {
	const bad, good = "a\xff\xfeb", "a�b"
	replaced := 0
	for _, c := range examples() {
		if _, ok := c.(*state.Batch); ok {
			continue // names are bytes there
		}
		v, want := reflect.New(reflect.TypeOf(c)).Elem(), reflect.New(reflect.TypeOf(c)).Elem()
		v.Set(reflect.ValueOf(c))
		want.Set(v)
		replaced += setTexts(v, bad)
		setTexts(want, good)
		_, again, err := Decode(Encode(1, v.Interface().(state.Command)))
		if err != nil || !reflect.DeepEqual(again, want.Interface()) {
			t.Errorf("%T: %v: %s", c, err, cmp.Diff(want.Interface(), again))
		}
	}
	if replaced < 19 {
		t.Errorf("%d texts tried only", replaced)
	}
}

// setTexts sets all strings in a struct and returns how many there are.
func setTexts(v reflect.Value, to string) int {
	switch v.Kind() {
	case reflect.String:
		v.SetString(to)
		return 1
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += setTexts(v.Field(i), to)
		}
		return n
	default:
		return 0
	}
}
