package lock

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lock_gulmd/server/reason"
)

// kernelFiles is a real file opened several times. Owner 0 is this process,
// which has POSIX locks through the first descriptor; the owners after that are
// open files with locks of their own.
type kernelFiles struct {
	path  string
	files []*os.File
}

func openKernel(t *testing.T, owners int) *kernelFiles {
	t.Helper()
	k := &kernelFiles{path: filepath.Join(t.TempDir(), "file")}
	for range owners {
		f, err := os.OpenFile(k.path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		k.files = append(k.files, f)
	}
	t.Cleanup(func() {
		for _, f := range k.files {
			_ = f.Close() // a test that failed may have closed it
		}
	})
	return k
}

// reopen closes the open file of an owner and opens another.
func (k *kernelFiles) reopen(t *testing.T, owner int) {
	t.Helper()
	if err := k.files[owner].Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(k.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	k.files[owner] = f
}

// fcntl runs one command; typ is F_RDLCK, F_WRLCK or F_UNLCK. A length of 0 is
// how the kernel says to infinity.
func (k *kernelFiles) fcntl(owner, posix, ofd int, typ int16, start, end uint64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Whence: unix.SEEK_SET, Start: int64(start)}
	if end < RangeMax {
		l.Len = int64(end - start + 1)
	}
	cmd := ofd
	if owner == 0 {
		cmd = posix
	}
	return l, unix.FcntlFlock(k.files[owner].Fd(), cmd, &l)
}

// held reads what the kernel says an open file holds.
func (k *kernelFiles) held(owner int) ([]rangeSpan, error) {
	info, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", k.files[owner].Fd()))
	if err != nil {
		return nil, err
	}
	defer info.Close()
	var spans []rangeSpan
	for lines := bufio.NewScanner(info); lines.Scan(); {
		// lock:	1: OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF
		words := strings.Fields(lines.Text())
		if len(words) < 9 || words[0] != "lock:" || words[2] == "FLOCK" {
			continue
		}
		s := rangeSpan{end: RangeMax}
		if words[4] == "WRITE" {
			s.kind = RangeWrite
		}
		if s.start, err = strconv.ParseUint(words[7], 10, 64); err != nil {
			return nil, err
		}
		if words[8] != "EOF" {
			if s.end, err = strconv.ParseUint(words[8], 10, 64); err != nil {
				return nil, err
			}
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b rangeSpan) int { return int(a.start>>1) - int(b.start>>1) })
	return spans, nil
}

func kernelType(kind RangeKind) int16 {
	if kind == RangeWrite {
		return unix.F_WRLCK
	}
	return unix.F_RDLCK
}

// kernelTwin does everything with a table and with the kernel.
type kernelTwin struct {
	t      *testing.T
	kernel *kernelFiles
	table  *rangeTable
	seen   map[string]int
}

func kernelOwner(n int) RangeOwner { return RangeOwner{Session: 1, Number: uint64(n)} }

func (k *kernelTwin) lock(owner int, s rangeSpan) {
	k.t.Helper()
	reply := k.table.Lock(rangeRequest{Owner: kernelOwner(owner), Start: s.start, End: s.end, Kind: s.kind})
	_, err := k.kernel.fcntl(owner, unix.F_SETLK, unix.F_OFD_SETLK, kernelType(s.kind), s.start, s.end)
	refused := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES)
	if err != nil && !refused {
		k.t.Fatal(err)
	}
	if refused != (reply == rangeRefuse(reason.TryFailed)) || !refused != (reply.Outcome == Granted) {
		k.t.Fatalf("owner %d asks for %+v: %+v, the kernel says %v", owner, s, reply, err)
	}
	k.seen[fmt.Sprint("lock ", reply.Outcome)]++
}

func (k *kernelTwin) unlock(owner int, s rangeSpan) {
	k.t.Helper()
	if _, err := k.kernel.fcntl(owner, unix.F_SETLK, unix.F_OFD_SETLK, unix.F_UNLCK, s.start, s.end); err != nil {
		k.t.Fatal(err)
	}
	if r := k.table.Unlock(kernelOwner(owner), 0, s.start, s.end); r.Outcome != Unlocked {
		k.t.Fatalf("unlock: %+v", r)
	}
}

// test compares with the one conflict that the kernel tells.
func (k *kernelTwin) test(owner int, s rangeSpan) {
	k.t.Helper()
	got, err := k.kernel.fcntl(owner, unix.F_GETLK, unix.F_OFD_GETLK, kernelType(s.kind), s.start, s.end)
	if err != nil {
		k.t.Fatal(err)
	}
	conflicts, _, _ := k.table.Test(kernelOwner(owner), 0, s, 0, 0)
	if got.Type == unix.F_UNLCK {
		if len(conflicts) > 0 {
			k.t.Fatalf("owner %d tests %+v: %+v, the kernel says none", owner, s, conflicts)
		}
		k.seen["test free"]++
		return
	}
	want := rangeSpan{start: uint64(got.Start), end: RangeMax}
	if got.Len > 0 {
		want.end = want.start + uint64(got.Len) - 1
	}
	if got.Type == unix.F_WRLCK {
		want.kind = RangeWrite
	}
	found := slices.ContainsFunc(conflicts, func(c RangeConflict) bool {
		return rangeSpan{c.Start, c.End, c.Kind} == want && (c.Owner.Number == 0) == (got.Pid == int32(os.Getpid()))
	})
	if !found {
		k.t.Fatalf("owner %d tests %+v: %+v, the kernel says %+v", owner, s, conflicts, got)
	}
	k.seen["test conflict"]++
}

// compare compares what everybody holds.
func (k *kernelTwin) compare() {
	k.t.Helper()
	if err := deepCheckRanges(k.table); err != nil {
		k.t.Fatal(err)
	}
	state, _ := k.table.File(0)
	for owner := range k.kernel.files {
		var got []rangeSpan
		for _, r := range state.Ranges {
			if r.Owner == kernelOwner(owner) {
				got = append(got, rangeSpan{r.Start, r.End, r.Kind})
			}
		}
		want, err := k.kernel.held(owner)
		if err != nil {
			k.t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			k.t.Fatalf("owner %d holds %+v, the kernel says %+v", owner, got, want)
		}
		k.seen["ranges"] += len(got)
	}
}

// TestRangeKernel does random operations on a table and on a real file: the
// process with F_SETLK, several open files with F_OFD_SETLK, and closes of these,
// which by the law of POSIX drop the process's locks too.
func TestRangeKernel(t *testing.T) {
	for _, c := range []struct {
		name            string
		owners, offsets int
		steps           int
	}{{"crowded", 3, 10, 30_000}, {"ordinary", 5, 60, 30_000}, {"wide", 4, 3000, 8_000}} {
		t.Run(c.name, func(t *testing.T) {
			k := &kernelTwin{t: t, kernel: openKernel(t, c.owners), table: &rangeTable{}, seen: map[string]int{}}
			rng := rand.New(rand.NewPCG(uint64(c.offsets), 1))
			for step := range c.steps {
				start := uint64(rng.IntN(c.offsets))
				s := rangeSpan{start, start + uint64(rng.IntN(min(c.offsets, 12))), RangeKind(rng.IntN(2))}
				switch rng.IntN(40) {
				case 0:
					s.end = RangeMax
				case 1:
					s.start = RangeMax - uint64(rng.IntN(3))
					s.end = RangeMax
				case 2:
					s.end += uint64(rng.IntN(c.offsets))
				}
				owner := rng.IntN(c.owners)
				switch n := rng.IntN(200); {
				case n < 90:
					k.lock(owner, s)
				case n < 150:
					k.unlock(owner, s)
				case n < 199:
					k.test(owner, s)
				case owner > 0 && step%4 == 0:
					k.kernel.reopen(t, owner)
					k.table.CloseOwner(kernelOwner(owner), everyFile)
					k.table.CloseFile(kernelOwner(0), 0)
				}
				if step%20 == 0 {
					k.compare()
				}
			}
			t.Log(k.seen)
			if k.seen["lock 0"] < 100 || k.seen["lock 1"] < 100 || k.seen["test free"] < 100 || k.seen["test conflict"] < 100 {
				t.Error("the run hardly touched anything")
			}
		})
	}
}

// TestRangeKernel_flock does random flock calls that do not wait.
func TestRangeKernel_flock(t *testing.T) {
	const owners = 4
	kernel, table := openKernel(t, owners), &rangeTable{}
	rng := rand.New(rand.NewPCG(3, 1))
	granted, refused := 0, 0
	for range 20_000 {
		owner := rng.IntN(owners)
		if rng.IntN(3) == 0 {
			if err := unix.Flock(int(kernel.files[owner].Fd()), unix.LOCK_UN); err != nil {
				t.Fatal(err)
			}
			table.Unlock(kernelOwner(owner), 0, 0, RangeMax)
			continue
		}
		kind, how := RangeRead, unix.LOCK_SH
		if rng.IntN(3) == 0 {
			kind, how = RangeWrite, unix.LOCK_EX
		}
		reply := table.Flock(rangeRequest{Owner: kernelOwner(owner), Kind: kind})
		err := unix.Flock(int(kernel.files[owner].Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil && reply.Outcome == Granted:
			granted++
		case errors.Is(err, unix.EWOULDBLOCK) && reply == rangeRefuse(reason.TryFailed):
			refused++
		default:
			t.Fatalf("owner %d wants %v: %+v, the kernel says %v", owner, kind, reply, err)
		}
		if err := table.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if granted < 1000 || refused < 1000 {
		t.Errorf("%d granted, %d refused: the run hardly touched anything", granted, refused)
	}
}
