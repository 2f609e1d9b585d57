package lock

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/server/reason"
)

// The flags of libdlm's calls that say which operation is meant.
const (
	dlmCancel  = 0x2
	dlmConvert = 0x4
)

// written is what the recording program put into the buffer of a caller that
// writes the value block, in the order of its writes.
var written = map[string][]string{
	"3":  {"hello", "two"},
	"3c": {"new"},
	"12": {"val1"},
}

// exits are the calls before which the owner of the first lock exits, by
// scenario.
var exits = map[string]string{
	"12": "lock b PR f=c -> 0",
	"13": "lock b PR f=1 -> 0",
}

// differences are recorded answers that are wrong here on purpose, by scenario
// and call, with what is right and why.
var differences = map[string]struct {
	want oracleStep
	why  string
}{}

// late are the scenarios in which what comes of a call may be recorded a step
// later.
var late = map[string]bool{"12": true}

// TestOracle compares the engine with the recorded answers of a kernel's DLM:
// what a call returns at once, and the completions with their status, bits and
// value and the blocking callbacks that come of it.
func TestOracle(t *testing.T) {
	all := readOracle(t)
	var played []string
	o := &oracle{}
	for _, sc := range all {
		played = append(played, sc.number)
		// A letter marks the continuation of the scenario before, if no lock is
		// new in it.
		if o.table == nil || !sc.continues() {
			o = newOracle()
		}
		t.Run(sc.number+" "+sc.title, func(t *testing.T) { o.replay(t, sc) })
	}
	want := strings.Fields("1 2 3 3b 3c 4 4b 5 6 7 8 8b 9 10 10b 11 11b 12 13 14 15")
	if !slices.Equal(played, want) {
		t.Errorf("replayed %q, want %q", played, want)
	}
}

// continues reports whether the scenario converts a lock that it did not make.
func (sc *scenario) continues() bool {
	return len(sc.steps) > 0 && sc.steps[0].flags&dlmConvert != 0
}

// oracle plays the recording program: each owner is a session with one lock and
// a buffer for the value block. All are processes of one node.
type oracle struct {
	table   *Table
	step    uint64
	names   []string // of the sessions
	buffers map[string]*buffer
	writes  []string
	last    Session
}

// buffer is the caller's memory for the value block, and what its lock is like.
type buffer struct {
	text    string
	held    Mode
	carries bool // the lock once had a value block
	flags   uint64
}

func newOracle() *oracle {
	return &oracle{table: New(Limits{}), buffers: map[string]*buffer{}}
}

// session returns the session of an owner, which is opened when first seen.
func (o *oracle) session(owner string) Session {
	i := slices.Index(o.names, owner)
	if i < 0 {
		i = len(o.names)
		o.names = append(o.names, owner)
		o.table.Open(Session(i+1), 1)
		o.table.Join(Session(i+1), JoinRequest{Name: []byte("oracle")})
		o.buffers[owner] = &buffer{}
	}
	return Session(i + 1)
}

// exit ends the process of the first owner; a new one may have its name.
func (o *oracle) exit() {
	o.table.Close(1)
	o.names[0] = ""
}

func (o *oracle) replay(t *testing.T, sc scenario) {
	o.writes = written[sc.number]
	var got, want []string
	for _, st := range sc.steps {
		o.step++
		o.table.Begin(o.step, 0)
		if d, ok := differences[sc.number+": "+st.call]; ok {
			st = d.want
		}
		if exits[sc.number] == st.call {
			o.exit()
		}
		errno, casts := o.do(t, st)
		if errno != st.errno {
			t.Errorf("%s\n got %q, want %q", st.call, errno, st.errno)
		}
		got, want = append(got, casts...), append(want, st.casts...)
		if late[sc.number] {
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", st.call, got, want)
		}
		got, want = nil, nil
		if err := deepCheck(o.table); err != nil {
			t.Fatal(err)
		}
	}
	byOwner(got)
	byOwner(want)
	if !slices.Equal(got, want) {
		t.Errorf("all together\n got %q\nwant %q", got, want)
	}
	if len(o.writes) > 0 {
		t.Errorf("not written: %q", o.writes)
	}
}

// do makes one call and returns what comes of it.
func (o *oracle) do(t *testing.T, st oracleStep) (errno string, casts []string) {
	t.Helper()
	switch st.verb {
	case "lock", "unlock":
		errno, casts = o.answer(st, o.call(t, st))
	case "dc":
		if !o.table.Deny(Denial{Session: o.last, ID: 1, Reason: reason.Deadlock}) {
			errno = "EINVAL"
		}
	case "adopt":
		errno = o.adopt(t, st.mode)
	case "purge":
		// The first line with an owner that is new opened a session since; the
		// orphan is that of the process that exited.
		o.table.Close(o.session("a"))
		if n := o.table.Purge(1, 0); n != 1 {
			t.Errorf("purged %d locks", n)
		}
	default:
		errno = o.lockspace(t, st.call)
	}
	for _, e := range o.table.TakeEvents() {
		name := o.names[e.Session-1]
		switch e.Kind {
		case EventBlocking:
			casts = append(casts, name+" bast")
		case EventGranted:
			o.fill(name, e.Mode, e.Value)
			casts = append(casts, o.cast(name, "0", e.Status))
		case EventDenied:
			casts = append(casts, o.cast(name, "EDEADLK", 0))
			o.table.Unlock(e.Session, UnlockRequest{ID: e.Lock})
		}
	}
	byOwner(casts)
	return errno, casts
}

func (o *oracle) call(t *testing.T, st oracleStep) Reply {
	t.Helper()
	s := o.session(st.owner)
	o.last = s
	if st.verb == "unlock" {
		if st.flags&dlmCancel != 0 {
			return o.table.Cancel(s, 1)
		}
		return o.table.Unlock(s, UnlockRequest{ID: 1, Flags: Flags(st.flags)})
	}
	mode, err := parseMode(st.mode)
	if err != nil {
		t.Fatal(err)
	}
	b := o.buffers[st.owner]
	b.flags = st.flags
	b.carries = b.carries || st.flags&uint64(ValBlk) != 0
	flags := Flags(st.flags &^ dlmConvert)
	if st.flags&dlmConvert == 0 {
		b.held = NL
		return o.table.Lock(s, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: mode, Flags: flags})
	}
	if flags&ValBlk != 0 && valueRow[b.held][mode] == write && len(o.writes) > 0 {
		b.text, o.writes = o.writes[0], o.writes[1:]
	}
	return o.table.Convert(s, ConvertRequest{ID: 1, Mode: mode, Flags: flags, Value: []byte(b.text)})
}

// fill does to a caller's buffer what the kernel does when a request is granted.
func (o *oracle) fill(owner string, mode Mode, value []byte) {
	b := o.buffers[owner]
	convert := b.flags&dlmConvert != 0
	switch {
	case value != nil:
		b.text = strings.TrimRight(string(value), "\x00")
	case convert && b.carries && b.flags&uint64(ValBlk) == 0 && valueRow[b.held][mode] != write:
		b.text = "" // the kernel copies back what it was not given
	}
	b.held = mode
}

func (o *oracle) cast(owner, status string, bits Status) string {
	return fmt.Sprintf("%s cast st=%s fl=%x lvb=%s", owner, status, uint8(bits), o.buffers[owner].text)
}

// answer says in the DLM's words what a reply is: the error of the call itself
// or the completions that follow.
func (o *oracle) answer(st oracleStep, r Reply) (errno string, casts []string) {
	done := func(status string) (string, []string) { return "", []string{o.cast(st.owner, status, 0)} }
	switch r.Outcome {
	case Granted:
		if st.verb == "unlock" {
			return "", nil // cancelled too late
		}
		o.fill(st.owner, r.Mode, r.Value)
		return "", []string{o.cast(st.owner, "0", r.Status)}
	case Queued:
		return "", nil
	case Unlocked:
		return done("EUNLOCK")
	case Cancelled:
		return done("ECANCEL")
	case Refused, Joined, Left:
	}
	switch r.Reason {
	case reason.TryFailed:
		return done("EAGAIN")
	case reason.Deadlock:
		return done("EDEADLK")
	default:
		return errnoOf(r.Reason), nil
	}
}

// errnoOf says in the DLM's words why a call is refused.
func errnoOf(r reason.Reason) string {
	switch r {
	case reason.None:
		return ""
	case reason.Busy:
		return "EBUSY"
	case reason.NotHeld, reason.NoLockspace:
		return "ENOENT"
	case reason.Invalid:
		return "EINVAL"
	case reason.TryFailed:
		return "EAGAIN"
	case reason.Exists:
		return "EEXIST"
	default:
		return r.String()
	}
}

// adopt asks for the orphan in a mode, or for one of another name. Who gets it
// is called c in what follows.
func (o *oracle) adopt(t *testing.T, what string) string {
	t.Helper()
	s := o.session("c")
	name, mode := "r", EX
	switch what {
	case "none":
		name = "other"
	default:
		var err error
		if mode, err = parseMode(what); err != nil {
			t.Fatal(err)
		}
	}
	r := o.table.Lock(s, LockRequest{ID: 1, Lockspace: 1, Name: []byte(name), Mode: mode, Flags: Persistent | Orphan})
	o.buffers["c"].held = r.Mode
	return errnoOf(r.Reason)
}

// lockspace makes the calls about lockspaces.
func (o *oracle) lockspace(t *testing.T, call string) string {
	t.Helper()
	s := o.session("a") // which joins "oracle"
	var r Reply
	switch call {
	case "newexcl EEXIST":
		r = o.table.Join(s, JoinRequest{Name: []byte("oracle"), Exclusive: true})
	case "open missing ENOENT":
		r = o.table.Join(s, JoinRequest{Name: []byte("missing"), Existing: true})
	case "name>64 EINVAL":
		r = o.table.Join(s, JoinRequest{Name: make([]byte, 65)})
	default:
		t.Fatalf("%q is no known call", call)
	}
	return errnoOf(r.Reason)
}
