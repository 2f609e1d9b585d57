package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestStream_FirstMessage: a stream begins with attach, of a session that is the
// caller's own and lives, at the master.
func TestStream_FirstMessage(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		good := &gulmv1.Attach{Session: r.session, LoginId: r.loginID}
		for name, c := range map[string]struct {
			first *gulmv1.SessionRequest
			want  error
		}{
			"nothing":          {&gulmv1.SessionRequest{}, gulmerr.ErrInvalid},
			"requests only":    {&gulmv1.SessionRequest{Requests: []*gulmv1.Request{{Seq: 1}}}, gulmerr.ErrInvalid},
			"wrong login id":   {&gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: r.session, LoginId: slices.Repeat([]byte{8}, 16)}}, gulmerr.ErrPermission},
			"short login id":   {&gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: r.session, LoginId: r.loginID[:15]}}, gulmerr.ErrPermission},
			"no login id":      {&gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: r.session}}, gulmerr.ErrPermission},
			"unknown session":  {&gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: 999, LoginId: r.loginID}}, gulmerr.ErrNoSession},
			"session number 0": {&gulmv1.SessionRequest{Attach: &gulmv1.Attach{LoginId: r.loginID}}, gulmerr.ErrNoSession},
		} {
			if _, err := r.open(t.Context(), c.first); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		standby := &raw{t: t, conn: w.conn("n1", w.others(w.Master())[0])}
		if _, err := standby.open(t.Context(), &gulmv1.SessionRequest{Attach: good}); !is(err, gulmerr.ErrNotMaster) ||
			gulmerr.Meta(err, gulmerr.MetaMaster) != w.Master() || gulmerr.Meta(err, gulmerr.MetaAddress) == "" {
			t.Errorf("a standby answered %v", err)
		}
		if reply, err := r.open(t.Context(), &gulmv1.SessionRequest{Attach: good}); err != nil || reply.GetAttached().GetTerm() == 0 {
			t.Errorf("the good one got %v, %v", reply, err)
		}
		w.Power.Set("n1", behaviourHang)
		w.awaitState("n1", member.Expired, time.Minute)
		if _, err := r.open(t.Context(), &gulmv1.SessionRequest{Attach: good}); !errors.Is(err, gulmerr.ErrNodeExpired) {
			t.Errorf("a frozen session got %v", err)
		}
	})
}

// TestStream_NewerStreamTakesOver: the older one ends with SESSION_TAKEN.
func TestStream_NewerStreamTakesOver(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		r.attach(0)
		old := r.stream
		r.attach(0)
		_, err := old.Recv()
		for err == nil {
			_, err = old.Recv()
		}
		if !is(err, gulmerr.ErrSessionTaken) {
			t.Errorf("the older stream ended with %v", err)
		}
		r.join()
	})
}

// TestStream_FaultyRequestsAreRefusedAndTheStreamLivesOn.
func TestStream_FaultyRequestsAreRefusedAndTheStreamLivesOn(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		r.attach(0)
		fs := r.join()
		name := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
		lock := func(id uint64, change func(*gulmv1.Request)) *gulmv1.Request {
			q := &gulmv1.Request{Op: gulmv1.Op_OP_LOCK, Lock: id, Lockspace: fs, Name: []byte("r"), Mode: gulmv1.Mode_MODE_PR}
			change(q)
			return q
		}
		bad := map[string]*gulmv1.Request{
			"NOT_HELD":                      {Op: gulmv1.Op_OP_UNLOCK, Lock: 77},
			"INVALID name of 256 bytes":     lock(100, func(q *gulmv1.Request) { q.Name = name(256) }),
			"INVALID name of 64 KiB":        lock(101, func(q *gulmv1.Request) { q.Name = name(64 << 10) }),
			"INVALID no name":               lock(102, func(q *gulmv1.Request) { q.Name = nil }),
			"INVALID op 0":                  {},
			"INVALID op 99":                 {Op: 99, Lock: 1},
			"INVALID op 257":                lock(103, func(q *gulmv1.Request) { q.Op = 257 }),
			"INVALID mode 6":                lock(104, func(q *gulmv1.Request) { q.Mode = 6 }),
			"INVALID mode -1":               lock(105, func(q *gulmv1.Request) { q.Mode = -1 }),
			"INVALID mode 259":              lock(106, func(q *gulmv1.Request) { q.Mode = 259 }),
			"INVALID flag of nobody":        lock(107, func(q *gulmv1.Request) { q.Flags = 1 << 31 }),
			"INVALID lockspace of 65 bytes": {Op: gulmv1.Op_OP_JOIN, Name: name(65)},
			"INVALID policy 9":              {Op: gulmv1.Op_OP_JOIN, Name: name(5), Policy: 9},
			"NO_LOCKSPACE":                  lock(108, func(q *gulmv1.Request) { q.Lockspace = fs + 1 }),
		}
		for what, q := range bad {
			want, _, _ := strings.Cut(what, " ")
			if got := r.do(q)[0]; got.GetOutcome() != gulmv1.Outcome_OUTCOME_REFUSED || got.GetReason() != want {
				t.Errorf("%s: %v", what, got)
			}
		}
		binary := lock(200, func(q *gulmv1.Request) { q.Name = append([]byte{0, 0xff, '\n', '/'}, name(251)...) })
		if got := r.do(binary)[0]; got.GetOutcome() != gulmv1.Outcome_OUTCOME_GRANTED {
			t.Errorf("any 255 bytes are a name: %v", got)
		}
		if n := w.member("n1"); n.State != member.LoggedIn {
			t.Errorf("n1 is %v", n.State)
		}
	})
}

// TestStream_TooMuchAtOnce: more requests than a message may carry, a message
// that is too large, and a gap end the stream but not the session.
func TestStream_TooMuchAtOnce(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		for what, c := range map[string]struct {
			m    *gulmv1.SessionRequest
			want error
		}{
			"4097 requests": {&gulmv1.SessionRequest{Requests: slices.Repeat([]*gulmv1.Request{{Seq: 1}}, 4097)}, gulmerr.ErrLimit},
			"2 MiB":         {&gulmv1.SessionRequest{Requests: []*gulmv1.Request{{Seq: 1, Name: make([]byte, 2<<20)}}}, gulmerr.ErrLimit},
			"a gap":         {&gulmv1.SessionRequest{Requests: []*gulmv1.Request{{Seq: 5, Op: gulmv1.Op_OP_JOIN, Name: []byte("x")}}}, gulmerr.ErrOutOfOrder},
		} {
			r.attach(0)
			_ = r.stream.Send(c.m)
			_, err := r.stream.Recv()
			for err == nil {
				_, err = r.stream.Recv()
			}
			if !is(err, c.want) {
				t.Errorf("%s: %v, want %v", what, err, c.want)
			}
		}
		if reply := r.attach(0); reply.GetAttached().GetApplied() != 0 {
			t.Errorf("something was applied: %v", reply)
		}
		r.join()
	})
}

// TestS9_SlowReaderIsCutOffAndResumesWithoutLoss: a node that sends and confirms
// but never reads fills no memory; when it reads at last it finds LIMIT, attaches
// again, and is told what it has.
func TestS9_SlowReaderIsCutOffAndResumesWithoutLoss(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Servers: 1}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		r.attach(0)
		fs := r.join()
		const batch, batches = 1000, 150
		for i := range uint64(batches) {
			m := &gulmv1.SessionRequest{Confirmed: r.seq}
			for k := range uint64(batch) {
				id, op := i*batch/2+k/2+1, gulmv1.Op_OP_LOCK
				if k%2 == 1 && i < batches-1 {
					op = gulmv1.Op_OP_UNLOCK
				} else if k%2 == 1 {
					op = gulmv1.Op_OP_CONVERT
				}
				m.Requests = append(m.Requests, r.next(&gulmv1.Request{
					Op: op, Lock: id, Lockspace: fs, Name: fmt.Append(nil, "r", k/2), Mode: gulmv1.Mode_MODE_PR,
				})...)
			}
			if err := r.stream.Send(m); err != nil {
				t.Fatalf("batch %d: %v", i, err)
			}
			time.Sleep(20 * time.Millisecond) // until it is applied, so that it may be confirmed
		}
		w.Await(time.Minute, "all to be applied", func() bool { return w.counts().Locks == batch/2 })
		_, err := r.stream.Recv()
		for err == nil {
			_, err = r.stream.Recv()
		}
		if !is(err, gulmerr.ErrLimit) {
			t.Fatalf("the stream ended with %v", err)
		}
		first := r.attach(1)
		if first.GetAttached().GetApplied() != r.seq {
			t.Errorf("%d requests are applied, want %d", first.GetAttached().GetApplied(), r.seq)
		}
		told := map[uint64]bool{}
		for len(told) < batch/2 {
			m, err := r.stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range m.GetEvents() {
				if e.GetKind() == gulmv1.EventKind_EVENT_KIND_GRANTED {
					told[e.GetLock()] = true
				}
			}
		}
	})
}

// TestS9_SilentReaderDoesNotHoldUpOthers: while one stream is not read, others
// lock and unlock.
func TestS9_SilentReaderDoesNotHoldUpOthers(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		r := w.login("n1", w.Master())
		r.attach(0)
		fs := r.join()
		for range 50 {
			var m gulmv1.SessionRequest
			m.Confirmed = r.seq
			for k := range uint64(900) {
				m.Requests = append(m.Requests, r.next(&gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: k, Lockspace: fs})...)
			}
			if err := r.stream.Send(&m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		n2 := w.boot("n2")
		for i := range 50 {
			if err := n2.take(fmt.Sprint("r", i), client.EX).Unlock(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestEdge_GarbageOnThePortsDisturbsNobody: random bytes and silent connections
// on both ports while a node works.
func TestEdge_GarbageOnThePortsDisturbsNobody(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		garbage := [][]byte{
			bytes.Repeat([]byte{0xff}, 4096), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			{0},
			{},
			append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), bytes.Repeat([]byte{0x7f}, 1024)...),
			{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		}
		master := w.Master()
		for i := range 120 {
			for _, port := range []string{":40040", ":40041"} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				c, err := w.Net.Host("stranger").Dial(ctx, w.servers()[i%3]+port)
				cancel()
				if err != nil {
					continue // enough of them hang already
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				_, _ = c.Write(garbage[i%len(garbage)])
				defer c.Close()
			}
			if i%10 == 0 {
				if err := n1.take("r", client.EX).Unlock(); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(2 * expiry)
		w.nobodyDied()
		if n1.node.State() != client.StateSafe || w.Master() != master {
			t.Errorf("n1 is %v, the master went from %s to %s", n1.node.State(), master, w.Master())
		}
		c, err := w.Net.Host("stranger").Dial(t.Context(), master+":40040")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		began := time.Now()
		if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Errorf("a silent connection stayed open for %v", time.Since(began))
		}
	})
}

// TestEdge_Health: the lock service is SERVING at the master only, the process
// everywhere.
func TestEdge_Health(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		check := func() {
			t.Helper()
			time.Sleep(time.Second)
			master := w.Master()
			for _, s := range w.servers() {
				if w.Server(s) == nil {
					continue
				}
				for service, want := range map[string]bool{"": true, "gulm.v1.LockService": s == master} {
					reply, err := healthpb.NewHealthClient(w.conn("operator", s)).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
					if err != nil || (reply.GetStatus() == healthpb.HealthCheckResponse_SERVING) != want {
						t.Errorf("%s (master is %s), service %q: %v, %v", s, master, service, reply.GetStatus(), err)
					}
				}
			}
		}
		check()
		w.KillServer(w.Master())
		w.Await(time.Minute, "another master", func() bool { return w.Master() != "" })
		check()
		unknown := call(t.Context(), w.conn("operator", w.Master()), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
		if code := status.Code(unknown); code != codes.Unimplemented && code != codes.PermissionDenied {
			t.Errorf("reflection, not asked for: %v", unknown)
		}
	})
}

// TestEdge_StandbysNameTheMaster in every refusal and in Locate.
func TestEdge_StandbysNameTheMaster(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		ctx, master := t.Context(), w.Master()
		standby := w.others(master)[0]
		conn := w.conn("operator", standby)
		core, admin := gulmv1.NewCoreServiceClient(conn), gulmv1.NewAdminServiceClient(conn)
		located, err := core.Locate(ctx, &gulmv1.LocateRequest{})
		if err != nil || located.GetMaster().GetName() != master || located.GetRole() != gulmv1.ServerRole_SERVER_ROLE_STANDBY ||
			len(located.GetServers()) != 3 {
			t.Errorf("located %v, %v", located, err)
		}
		id := slices.Repeat([]byte{1}, 16)
		for name, call := range map[string]func() error{
			"login": func() error {
				_, err := core.Login(ctx, &gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: "b", LoginId: id})
				return err
			},
			"logout": func() error { _, err := core.Logout(ctx, &gulmv1.LogoutRequest{Session: 1, LoginId: id}); return err },
			"watch": func() error {
				stream, err := core.Watch(ctx, &gulmv1.WatchRequest{})
				if err != nil {
					return err
				}
				_, err = stream.Recv()
				return err
			},
			"forceexpire": func() error {
				_, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n1", Reason: "x"})
				return err
			},
			"acknowledge": func() error {
				_, err := admin.AcknowledgeFence(ctx, &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "x"})
				return err
			},
		} {
			err := gulmerr.FromStatus(call())
			if !errors.Is(err, gulmerr.ErrNotMaster) || gulmerr.Meta(err, gulmerr.MetaMaster) != master ||
				gulmerr.Meta(err, gulmerr.MetaAddress) != located.GetMaster().GetAddress() {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestEdge_LoginIsChecked.
func TestEdge_LoginIsChecked(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		id := slices.Repeat([]byte{1}, 16)
		for what, c := range map[string]struct {
			req  *gulmv1.LoginRequest
			want error
		}{
			"other cluster":    {&gulmv1.LoginRequest{Cluster: "other", Node: "n1", BootId: "b", LoginId: id}, gulmerr.ErrWrongCluster},
			"no cluster":       {&gulmv1.LoginRequest{Node: "n1", BootId: "b", LoginId: id}, gulmerr.ErrWrongCluster},
			"unknown node":     {&gulmv1.LoginRequest{Cluster: "sim", Node: "n9", BootId: "b", LoginId: id}, gulmerr.ErrUnknownNode},
			"path as node":     {&gulmv1.LoginRequest{Cluster: "sim", Node: "../n1\n", BootId: "b", LoginId: id}, gulmerr.ErrUnknownNode},
			"short login id":   {&gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: "b", LoginId: id[:3]}, gulmerr.ErrInvalid},
			"zero login id":    {&gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: "b", LoginId: make([]byte, 16)}, gulmerr.ErrInvalid},
			"no boot id":       {&gulmv1.LoginRequest{Cluster: "sim", Node: "n1", LoginId: id}, gulmerr.ErrInvalid},
			"long boot id":     {&gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: strings.Repeat("b", 65), LoginId: id}, gulmerr.ErrInvalid},
			"long process":     {&gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: "b", Process: strings.Repeat("p", 65), LoginId: id}, gulmerr.ErrInvalid},
			"long other names": {&gulmv1.LoginRequest{Cluster: strings.Repeat("c", 1<<16)}, gulmerr.ErrWrongCluster},
		} {
			_, err := w.core(w.Master()).Login(t.Context(), c.req)
			if !is(err, c.want) || len(err.Error()) > 500 {
				t.Errorf("%s: %v, want %v", what, err, c.want)
			}
		}
		if n := len(w.logs.find("node logged in")); n != 0 {
			t.Errorf("%d logins succeeded", n)
		}
	})
}
