package gulmtest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/server/gulmtest"
)

var (
	n1  = gulmtest.Holder{Node: "n1", Incarnation: 1}
	n1b = gulmtest.Holder{Node: "n1", Incarnation: 2}
	n2  = gulmtest.Holder{Node: "n2", Incarnation: 1}
)

func TestMode_compatible(t *testing.T) {
	modes := []gulmtest.Mode{gulmtest.NL, gulmtest.CR, gulmtest.CW, gulmtest.PR, gulmtest.PW, gulmtest.EX}
	want := []string{ // row and column in the order of modes
		"yyyyyy",
		"yyyyy-",
		"yyy---",
		"yy-y--",
		"yy----",
		"y-----",
	}
	for i, a := range modes {
		for j, b := range modes {
			if got := a.Compatible(b); got != (want[i][j] == 'y') {
				t.Errorf("%v beside %v: %v", a, b, got)
			}
		}
	}
	if gulmtest.Mode(6).Compatible(gulmtest.NL) || gulmtest.NL.Compatible(6) {
		t.Error("what is no mode is compatible")
	}
	if got := fmt.Sprint(modes, gulmtest.Mode(9)); got != "[NL CR CW PR PW EX] mode 9" {
		t.Error(got)
	}
}

func write(h gulmtest.Holder, mode gulmtest.Mode, token uint64) gulmtest.Write {
	return gulmtest.Write{Holder: h, Resource: "r", Mode: mode, Token: token, Data: []byte(h.String())}
}

// mustWrite writes, which the disk must take whether it flags it or not.
func mustWrite(t *testing.T, d *gulmtest.Disk, w gulmtest.Write) {
	t.Helper()
	if err := d.Write(w); err != nil {
		t.Errorf("%v", err)
	}
}

// planted are faults and what the disk has to say about them, and honest runs
// that look like one. Writes take 10 s.
var planted = []struct {
	name string
	run  func(t *testing.T, d *gulmtest.Disk)
	want []gulmtest.Kind
}{
	{
		name: "two exclusive holders",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			d.Granted(n2, "r", gulmtest.EX, 2)
		},
		want: []gulmtest.Kind{gulmtest.HoldersOverlap},
	},
	{
		name: "two owners of one node exclude each other",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(gulmtest.Holder{Node: "n1", Owner: "a"}, "r", gulmtest.PR, 1)
			d.Granted(gulmtest.Holder{Node: "n1", Owner: "b"}, "r", gulmtest.CW, 2)
		},
		want: []gulmtest.Kind{gulmtest.HoldersOverlap},
	},
	{
		name: "readers share, writers take turns",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.PR, 1)
			d.Granted(n2, "r", gulmtest.PR, 2)
			d.Released(n2, "r")
			d.Granted(n1, "r", gulmtest.EX, 3)
			mustWrite(t, d, write(n1, gulmtest.EX, 3))
			d.Released(n1, "r")
			d.Granted(n2, "r", gulmtest.EX, 4)
			mustWrite(t, d, write(n2, gulmtest.EX, 4))
		},
	},
	{
		name: "write that begins beside an incompatible holder",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.PR, 1)
			d.Granted(n2, "r", gulmtest.EX, 2)
			mustWrite(t, d, write(n2, gulmtest.EX, 2))
		},
		want: []gulmtest.Kind{gulmtest.HoldersOverlap, gulmtest.WriteOverlap},
	},
	{
		name: "grant while a write is not over, though its lock was released",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			go func() {
				time.Sleep(5 * time.Second)
				d.Released(n1, "r")
				d.Granted(n2, "r", gulmtest.PR, 2)
			}()
			mustWrite(t, d, write(n1, gulmtest.EX, 1))
		},
		want: []gulmtest.Kind{gulmtest.WriteOverlap},
	},
	{
		name: "two writes at once",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			go func() {
				time.Sleep(5 * time.Second)
				d.Released(n1, "r")
				mustWrite(t, d, write(n2, gulmtest.EX, 2))
			}()
			mustWrite(t, d, write(n1, gulmtest.EX, 1))
		},
		want: []gulmtest.Kind{gulmtest.WriteWithoutLock, gulmtest.WriteOverlap},
	},
	{
		name: "concurrent writers are allowed",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.CW, 1)
			d.Granted(n2, "r", gulmtest.CW, 2)
			go func() { mustWrite(t, d, write(n2, gulmtest.CW, 2)) }()
			mustWrite(t, d, write(n1, gulmtest.CW, 1))
		},
	},
	{
		name: "write with the wrong mode",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.PR, 1)
			mustWrite(t, d, write(n1, gulmtest.PR, 1))
			d.Granted(n1, "r", gulmtest.CW, 2)
			mustWrite(t, d, write(n1, gulmtest.EX, 2))
		},
		want: []gulmtest.Kind{gulmtest.WriteWithoutLock, gulmtest.WriteWithoutLock},
	},
	{
		name: "write with an old token of its own",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			d.Granted(n1, "r", gulmtest.EX, 2)
			mustWrite(t, d, write(n1, gulmtest.EX, 1))
		},
		want: []gulmtest.Kind{gulmtest.WriteWithoutLock, gulmtest.TokenBackwards},
	},
	{
		name: "token goes backwards",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 5)
			d.Released(n1, "r")
			d.Granted(n2, "r", gulmtest.PW, 4)
		},
		want: []gulmtest.Kind{gulmtest.TokenBackwards},
	},
	{
		name: "token given twice",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 5)
			d.Released(n1, "r")
			d.Granted(n2, "r", gulmtest.EX, 5)
		},
		want: []gulmtest.Kind{gulmtest.TokenBackwards},
	},
	{
		name: "fence that was true",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			d.Fenced("n1", 1)
			d.FenceReported("n1", 1)
			if err := d.Write(write(n1, gulmtest.EX, 1)); !errors.Is(err, gulmtest.ErrFenced) {
				t.Errorf("%v, want ErrFenced", err)
			}
			d.Granted(n2, "r", gulmtest.EX, 2)
			mustWrite(t, d, write(n2, gulmtest.EX, 2))
			d.Released(n2, "r")
			d.Granted(n1, "r", gulmtest.EX, 1) // the ghost does not know
			d.Granted(n1b, "r", gulmtest.EX, 3)
			mustWrite(t, d, write(n1b, gulmtest.EX, 3))
		},
	},
	{
		name: "power cut in the middle of a write",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			go func() {
				time.Sleep(5 * time.Second)
				d.Fenced("n1", 1)
				d.Granted(n2, "r", gulmtest.EX, 2)
			}()
			if err := d.Write(write(n1, gulmtest.EX, 1)); !errors.Is(err, gulmtest.ErrFenced) {
				t.Errorf("%v, want ErrFenced", err)
			}
			if data, _ := d.Contents("r"); data != nil {
				t.Errorf("a write that was torn left %q", data)
			}
		},
	},
	{
		name: "fence that was a lie",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			d.FenceReported("n1", 1)
			mustWrite(t, d, write(n1, gulmtest.EX, 1))
		},
		want: []gulmtest.Kind{gulmtest.WriteAfterFence},
	},
	{
		name: "lie told in the middle of a write",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			go func() {
				time.Sleep(5 * time.Second)
				d.FenceReported("n1", 1)
			}()
			mustWrite(t, d, write(n1, gulmtest.EX, 1))
		},
		want: []gulmtest.Kind{gulmtest.WriteAfterFence},
	},
	{
		name: "lock granted on after a lie",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.EX, 1)
			d.FenceReported("n1", 1)
			d.Granted(n2, "r", gulmtest.EX, 2)
		},
		want: []gulmtest.Kind{gulmtest.HoldersOverlap},
	},
	{
		name: "lock of a dead node granted before its fence",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.PR, 1)
			d.Died("n1", 1)
			d.Released(n1, "r") // the ghost cannot give back what it died with
			d.Granted(n2, "r", gulmtest.EX, 2)
		},
		want: []gulmtest.Kind{gulmtest.GrantBeforeFence},
	},
	{
		name: "lock of a dead node granted after its fence",
		run: func(_ *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.PR, 1)
			d.Died("n1", 1)
			d.FenceReported("n1", 1)
			d.Granted(n2, "r", gulmtest.EX, 2)
		},
	},
	{
		name: "lost increment",
		run: func(t *testing.T, d *gulmtest.Disk) {
			// One actor that forgets to wait for itself: no overlap of locks,
			// yet an increment is lost.
			d.Granted(n1, "r", gulmtest.EX, 1)
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					if _, err := d.Increment(write(n1, gulmtest.EX, 1)); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			if _, err := d.Increment(write(n1, gulmtest.EX, 1)); err != nil { // is not flagged again
				t.Error(err)
			}
		},
		want: []gulmtest.Kind{gulmtest.LostIncrement},
	},
	{
		name: "increment under a mode that others may hold",
		run: func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.CW, 1)
			if _, err := d.Increment(write(n1, gulmtest.CW, 1)); err != nil {
				t.Error(err)
			}
		},
		want: []gulmtest.Kind{gulmtest.WriteWithoutLock},
	},
}

func TestDisk(t *testing.T) {
	for _, tt := range planted {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := gulmtest.NewDisk(1)
				d.SetLatency(10*time.Second, 0)
				tt.run(t, d)
				time.Sleep(time.Hour) // for what the run has started
				var got []gulmtest.Kind
				for _, v := range d.Violations() {
					got = append(got, v.Kind)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
					for _, v := range d.Violations() {
						t.Log(v)
					}
				}
			})
		})
	}
}

// recorder is a testing.TB that keeps errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestDisk_Check_tellsTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := gulmtest.NewDisk(1)
		d.Granted(n1, "inode 7", gulmtest.EX, 3)
		time.Sleep(90 * time.Second)
		d.FenceReported("n1", 1)
		time.Sleep(1500 * time.Millisecond)
		w := write(n1, gulmtest.EX, 3)
		w.Resource = "inode 7"
		mustWrite(t, d, w)
		r := &recorder{TB: t}
		d.Check(r)
		if len(r.errors) != 1 {
			t.Fatalf("%d errors, want 1: %q", len(r.errors), r.errors)
		}
		lines := strings.Split(strings.TrimSpace(r.errors[0]), "\n")
		want := []string{
			`write after fence on "inode 7" at 1m31.5s: n1/1 wrote after its fence was said to have succeeded`,
			`            0s  n1/1 was granted EX with token 3`,
			`         1m30s  n1/1 was said to be fenced`,
			`       1m31.5s  n1/1 began to write with EX and token 3`,
		}
		if !slices.Equal(lines, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestDisk_boundsWhatItKeeps(t *testing.T) {
	d := gulmtest.NewDisk(1)
	for range 150 {
		mustWrite(t, d, write(n1, gulmtest.CW, 1))
	}
	r := &recorder{TB: t}
	d.Check(r)
	all := d.Violations()
	if len(all) != 100 || len(r.errors) != 101 || !strings.Contains(r.errors[100], "50 violations more") {
		t.Errorf("%d violations, %d errors, the last %q", len(all), len(r.errors), r.errors[len(r.errors)-1])
	}
	if lines := strings.Count(all[99].Story, "\n"); lines != 32 {
		t.Errorf("a story of %d lines, want the newest 32", lines)
	}
}

// turns is a lock service in one process: honest, unless told to let two in.
type turns struct {
	turn  chan struct{}
	mu    sync.Mutex
	token uint64
}

func (s *turns) lock() uint64 {
	s.turn <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token++
	return s.token
}

// TestDisk_actors runs actors over an honest service and over one that lets two
// holders in, under several seeds.
func TestDisk_actors(t *testing.T) {
	for seed := range gulmtest.Seeds(t, 5) {
		for _, holders := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				d := gulmtest.NewDisk(seed.N)
				d.SetLatency(time.Millisecond, 10*time.Millisecond)
				service := &turns{turn: make(chan struct{}, holders)}
				var actors sync.WaitGroup
				for i := range 5 {
					h := gulmtest.Holder{Node: fmt.Sprint("n", i), Incarnation: 1}
					actors.Go(func() { act(t, d, service, h, seed) })
				}
				actors.Wait()
				_, counter := d.Contents("r")
				if holders == 1 {
					d.Check(t)
					if counter != 5*50 {
						t.Errorf("counter %d, want 250", counter)
					}
				} else if got := len(d.Violations()); got < 50 {
					t.Errorf("only %d violations", got)
				}
				if d.Writes() != 5*50 {
					t.Errorf("%d writes", d.Writes())
				}
			})
		}
	}
}

// act takes the lock fifty times and increments the counter.
func act(t *testing.T, d *gulmtest.Disk, service *turns, h gulmtest.Holder, seed *gulmtest.Seed) {
	rand := seed.Rand(h.Node)
	for range 50 {
		time.Sleep(time.Duration(rand.Int64N(int64(time.Millisecond))))
		token := service.lock()
		d.Granted(h, "r", gulmtest.EX, token)
		if _, err := d.Increment(write(h, gulmtest.EX, token)); err != nil {
			t.Error(err)
		}
		d.Released(h, "r")
		<-service.turn
	}
}
