package replica

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func sampleHello() hello {
	return hello{
		Cluster:    "alpha",
		Server:     "lk1",
		Target:     "lk2",
		Generation: generation{1, 2, 3},
		Starts:     3,
		Lives:      []life{{3}, {2}, {1}},
		Digest:     "nodes=ab;fence=cd",
	}
}

func TestHelloRoundTrip(t *testing.T) {
	h := sampleHello()
	got, err := readHello(bytes.NewReader(encodeMessage(kindHello, h.encode())))
	must(t, err)
	if !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v, want %+v", got, h)
	}
	v := verdict{verdictNewDisk, strings.Repeat("x", 2*maxVerdictText)}
	gotV, err := readVerdict(bytes.NewReader(encodeMessage(kindVerdict, v.encode())))
	must(t, err)
	if gotV.Code != v.Code || gotV.Text != v.Text[:maxVerdictText] {
		t.Errorf("got %+v", gotV)
	}
	long := hello{
		Cluster: strings.Repeat("c", maxName), Server: strings.Repeat("s", maxName), Target: strings.Repeat("t", maxName),
		Starts: maxLives, Lives: make([]life, maxLives), Digest: strings.Repeat("d", maxDigest),
	}
	if _, err := readHello(bytes.NewReader(encodeMessage(kindHello, long.encode()))); err != nil {
		t.Errorf("the longest hello is refused: %v", err)
	}
}

func TestHelloNotices(t *testing.T) {
	good := encodeMessage(kindHello, sampleHello().encode())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := readHello(bytes.NewReader(bad)); err == nil {
			t.Errorf("a flipped bit in byte %d went unnoticed", i)
		}
		if _, err := readHello(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("a hello of %d bytes was accepted", i)
		}
	}
}

// FuzzHello: no input makes the decoder panic, read beyond its bound, or return
// what does not encode to the same bytes.
func FuzzHello(f *testing.F) {
	good := sampleHello().encode()
	f.Add(encodeMessage(kindHello, good))
	f.Add(encodeMessage(kindVerdict, verdict{verdictBusy, "later"}.encode()))
	f.Add([]byte(helloMagic + "\x01\x01\xff\xff"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, msg := range [][]byte{b, encodeMessage(kindHello, b[:min(len(b), helloMax)])} {
			r := bytes.NewReader(msg)
			h, err := readHello(r)
			if read := len(msg) - r.Len(); read > helloMax {
				t.Fatalf("%d bytes read", read)
			}
			if err == nil && !bytes.Equal(encodeMessage(kindHello, h.encode()), msg[:len(msg)-r.Len()]) {
				t.Fatalf("%+v encodes differently", h)
			}
			if v, err := readVerdict(bytes.NewReader(msg)); err == nil && v.Code >= verdictEnd {
				t.Fatalf("verdict %d", v.Code)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	var good bytes.Buffer
	w, _ := newFrameWriter(&good)
	_, _ = w.Write([]byte("body"))
	_ = w.finish()
	f.Add(good.Bytes(), 3)
	f.Add([]byte(frameMagic), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		check := newFrameChecker()
		for rest := b; len(rest) > 0; {
			n := min(len(rest), max(step, 1))
			_, _ = check.Write(rest[:n])
			rest = rest[n:]
		}
		var body []byte
		r, err := newFrameReader(bytes.NewReader(b))
		if err == nil {
			body, err = io.ReadAll(r)
		}
		if (err == nil) != (check.check() == nil) {
			t.Fatalf("reader says %v, checker %v", err, check.check())
		}
		if err == nil && len(body)+len(frameMagic)+frameTrailerLen != len(b) {
			t.Fatalf("body of %d bytes out of %d", len(body), len(b))
		}
	})
}

func TestFrameOfEveryLength(t *testing.T) {
	for n := range 200 {
		var buf bytes.Buffer
		w, err := newFrameWriter(&buf)
		must(t, err)
		body := bytes.Repeat([]byte{7}, n)
		_, _ = w.Write(body)
		must(t, w.finish())
		r, err := newFrameReader(bytes.NewReader(buf.Bytes()))
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err)
		if !bytes.Equal(got, body) {
			t.Fatalf("length %d: got %d bytes", n, len(got))
		}
		for i := range buf.Bytes() {
			bad := bytes.Clone(buf.Bytes())
			bad[i] ^= 4
			c := newFrameChecker()
			_, _ = c.Write(bad)
			if c.check() == nil {
				t.Fatalf("length %d: flipped bit in byte %d unnoticed", n, i)
			}
		}
	}
}

// knock opens a connection to a server as a stranger would.
func knock(w *wire, to string) (net.Conn, error) {
	return (&wireLayer{w: w, name: "stranger", closed: make(chan struct{})}).Dial(to, time.Second)
}

func TestGarbageOnTheRaftPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines countingHandler
		c := newCluster(t, 3, func(cfg *Config) {
			cfg.MaxHandshakes = 4
			cfg.Log = lines.logger()
		})
		defer c.close()
		m := c.leader()
		rng := rand.New(rand.NewPCG(1, 2))
		inputs := [][]byte{
			[]byte("GET / HTTP/1.1\r\n\r\n"),
			append([]byte(helloMagic), 1, 1, 0xff, 0xff),
			append([]byte(helloMagic), 1, 1, 0, 4),
			{0}, // raft's own AppendEntries
		}
		for range 200 {
			b := make([]byte, 1+rng.IntN(5000))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			inputs = append(inputs, b)
		}
		var wg sync.WaitGroup
		for _, in := range inputs {
			wg.Go(func() {
				conn, err := knock(c.wire, m.name)
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				_, _ = conn.Write(in)
				if n, err := io.Copy(io.Discard, conn); n != 0 {
					t.Errorf("a stranger was answered %d bytes, %v", n, err)
				}
			})
		}
		wg.Wait()
		c.propose(m, "a")
		c.agree([]string{"a"})
		if n := lines.matching("raft port"); n == 0 || n > 20 {
			t.Errorf("%d lines about %d strangers", n, len(inputs))
		}
	})
}

func TestHalfOpenConnectionsAreBoundedInNumberAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *Config) { cfg.MaxHandshakes = 4 })
		defer c.close()
		m := c.leader()
		var conns []net.Conn
		for range 10 {
			conn, err := knock(c.wire, m.name)
			must(t, err)
			defer conn.Close()
			conns = append(conns, conn)
		}
		synctest.Wait()
		if n := len(m.r.layer.slots); n != 4 {
			t.Errorf("%d strangers are waited for, want 4", n)
		}
		start := time.Now()
		for _, conn := range conns {
			_, _ = conn.Read(make([]byte, 1))
		}
		if d := time.Since(start); d > DefaultHelloTimeout {
			t.Errorf("half-open connections lived for %v", d)
		}
		synctest.Wait()
		m.r.layer.mu.Lock()
		defer m.r.layer.mu.Unlock()
		if n := len(m.r.layer.conns) + len(m.r.layer.slots); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestMismatchIsRefusedAndReportedOnBothSides(t *testing.T) {
	for _, tc := range []struct {
		field string
		odd   func(*Config)
	}{
		{"cluster", func(cfg *Config) { cfg.Cluster = "beta" }},
		{"config", func(cfg *Config) { cfg.ConfigDigest = "nodes=2" }},
		{"server", func(cfg *Config) {
			cfg.VerifyPeer = func(net.Conn, string) error { return fmt.Errorf("no certificate") }
		}},
	} {
		t.Run(tc.field, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				seen := map[string]Mismatch{}
				c := newCluster(t, 2, func(cfg *Config) {
					cfg.ConfigDigest = "nodes=1"
					if cfg.Server == "lk2" {
						tc.odd(cfg)
					}
					name := cfg.Server
					cfg.OnMismatch = func(m Mismatch) {
						mu.Lock()
						defer mu.Unlock()
						seen[name] = m
					}
				})
				defer c.close()
				time.Sleep(10 * time.Second)
				if c.leader0() != nil {
					t.Error("servers that refuse each other elected a leader")
				}
				mu.Lock()
				defer mu.Unlock()
				for _, name := range []string{"lk1", "lk2"} {
					m := seen[name]
					if m.Field != tc.field || m.Err == nil || m.Peer == name {
						t.Errorf("%s was told %+v", name, m)
					}
					if tc.field == "config" && (m.Ours == m.Theirs || m.Ours == "") {
						t.Errorf("%s was told ours %q, theirs %q", name, m.Ours, m.Theirs)
					}
				}
			})
		})
	}
}

func TestLedgerTellsDisksApart(t *testing.T) {
	lives := func(ns ...byte) (out []life) {
		for _, n := range ns {
			out = append(out, life{n})
		}
		return out
	}
	g, other := generation{1}, generation{2}
	steps := []struct {
		what string
		h    hello
		want verdictCode
	}{
		{"first contact", hello{Generation: g, Starts: 3, Lives: lives(3, 2, 1)}, verdictOK},
		{"the same life again", hello{Generation: g, Starts: 3, Lives: lives(3, 2, 1)}, verdictOK},
		{"a restart", hello{Generation: g, Starts: 5, Lives: lives(5, 4, 3, 2, 1)}, verdictOK},
		{"an old copy", hello{Generation: g, Starts: 4, Lives: lives(40, 3, 2, 1)}, verdictOldDisk},
		{"an old copy, same count", hello{Generation: g, Starts: 5, Lives: lives(50, 40, 3, 2, 1)}, verdictOldDisk},
		{"an old copy started often", hello{Generation: g, Starts: 7, Lives: lives(70, 60, 50, 40, 3, 2, 1)}, verdictOldDisk},
		{"a wiped disk", hello{Generation: other, Starts: 1, Lives: lives(9)}, verdictNewDisk},
		{"too many starts unseen", hello{Generation: g, Starts: 1000, Lives: lives(200, 199)}, verdictOldDisk},
		{"the right one", hello{Generation: g, Starts: 6, Lives: lives(6, 5, 4, 3, 2, 1)}, verdictOK},
	}
	mem := NewMemory()
	for _, s := range steps {
		// Opened anew each time: what counts is what was written down.
		l, err := openLedger(&disk{files: memFiles{mem}})
		must(t, err)
		s.h.Server = "lk2"
		v, err := l.admit(s.h)
		must(t, err)
		if v.Code != s.want {
			t.Errorf("%s: verdict %d (%s), want %d", s.what, v.Code, v.Text, s.want)
		}
		if v.Code != verdictOK && !strings.Contains(v.Text, "re-admit") {
			t.Errorf("%s: %q does not say what to do", s.what, v.Text)
		}
	}
	mem.Crash()
	l := &ledger{files: memFiles{mem}, known: map[string]remembered{}}
	if _, err := l.admit(hello{Server: "lk3", Starts: 1, Lives: lives(1)}); err == nil {
		t.Error("a peer was let in without being written down")
	}
	if len(l.known) != 0 {
		t.Error("what could not be written down is remembered")
	}
}
