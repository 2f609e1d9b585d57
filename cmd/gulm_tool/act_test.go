package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"

	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func TestExpire(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "expire/done.txt", 0, on(c, "expire", "fs01", "--reason", "hangs"))
	golden(t, c, "expire/done.json", 0, on(c, "forceexpire", "fs01", "--reason", "hangs", "--json"))
	want := fmt.Sprintf("ForceExpire node:\"fs01\" reason:\"hangs\" operator:%q", tool.Operator())
	if got := c.Servers[0].Requests(); !slices.Equal(got, []string{want, want}) {
		t.Errorf("requests %q", got)
	}
	for name, err := range map[string]error{
		"unknown": gulmerr.New(gulmerr.ErrUnknownNode, "node fs09 has never logged in"),
		"state":   gulmerr.New(gulmerr.ErrWrongState, "node fs09, which is fenced: node is in the wrong state for this"),
		"unsure":  gulmerr.New(gulmerr.ErrUnavailable, "the master changed meanwhile: the command may be applied or not"),
	} {
		c.Servers[0].Set(func(s *tooltest.Script) { s.Refuse = map[string]error{"ForceExpire": err} })
		golden(t, c, "expire/"+name+".txt", gulmerr.ExitCode(err), on(c, "expire", "fs09", "--reason", "hangs"))
	}
}

// Every refusal of the servers has its exit code, and says what to do.
func TestRefusals(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	for _, row := range gulmerr.Table() {
		refusal := gulmerr.New(row.Err, "refused because of %s", row.Reason)
		c.Servers[0].Set(func(s *tooltest.Script) {
			s.Refuse = map[string]error{"ForceExpire": refusal, "AcknowledgeFence": refusal, "Locks": refusal, "Shutdown": refusal}
		})
		c.Expire("fs01")
		for _, args := range [][]string{{"expire", "fs01", "--reason", "x"}, {"ack", "fs01", "--yes"}, {"locks"}, {"shutdown", "lk1"}} {
			passing := row.Exit == gulmerr.ExitNoQuorum
			if passing { // waited for until the time limit
				args = append(args, "--timeout", "150ms")
			}
			r := on(c, args...)
			if r.Code != row.Exit || strings.Contains(r.Stderr, "Usage:") || !passing && !strings.Contains(r.Stderr, row.Reason) {
				t.Errorf("%s: %q ends with %d, want %d: %s", row.Reason, args, r.Code, row.Exit, r.Stderr)
			}
		}
	}
	if got := c.Servers[0].Requests(); len(got) > 0 {
		t.Errorf("refused requests were recorded: %q", got)
	}
}

func TestShutdown(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "shutdown/done.json", 0, on(c, "shutdown", "lk3", "--json"))
	if r := on(c, "shutdown", "lk3", "--force"); r.Code != 0 || r.Stdout != "lk3 has logged out and stops\n" {
		t.Errorf("%+v", r)
	}
	if got := c.Servers[2].Requests(); !slices.Equal(got, []string{"Shutdown", "Shutdown force:true"}) {
		t.Errorf("requests %q", got)
	}
	c.Servers[1].Set(func(s *tooltest.Script) {
		s.Refuse = map[string]error{"Shutdown": gulmerr.New(gulmerr.ErrLastQuorum, "without lk2 the lock servers have no quorum and nodes are logged in")}
	})
	golden(t, c, "shutdown/last_quorum.txt", gulmerr.ExitRefused, on(c, "shutdown", "lk2"))

	// Another server than the one that was named is never shut down.
	c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Server = "lk2" })
	if r := on(c, "shutdown", "lk1"); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "nothing was shut down") {
		t.Errorf("%+v", r)
	}
	c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Server, s.Status.Cluster = "lk1", "other" })
	if r := on(c, "shutdown", "lk1"); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, `cluster "other"`) {
		t.Errorf("%+v", r)
	}
	c.Servers[0].Stop()
	if r := on(c, "shutdown", "lk1"); r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stderr, "connection refused") {
		t.Errorf("%+v", r)
	}
	for i, s := range c.Servers[:2] {
		if got := s.Requests(); len(got) > 0 {
			t.Errorf("server %d: %q", i, got)
		}
	}
}

// The command asks a server that is none, is sent on, and arrives.
func TestFollowsTheMaster(t *testing.T) {
	expire := []string{"expire", "fs01", "--reason", "x"}
	arrived := func(t *testing.T, s *tooltest.Server, r tooltest.Result) {
		t.Helper()
		if got := s.Requests(); r.Code != 0 || len(got) != 1 {
			t.Errorf("%s got %q: %+v", s.Name, got, r)
		}
	}
	t.Run("named by a standby", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		arrived(t, c.Servers[0], run(append(expire, "--server", c.Servers[2].Address)...))
	})
	t.Run("some servers are down", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		c.Servers[1].Stop()
		arrived(t, c.Servers[0], on(c, expire...))
	})
	t.Run("redirected", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		// lk1 lost its office between the two calls.
		c.Servers[0].Set(func(s *tooltest.Script) {
			s.Refuse = map[string]error{"ForceExpire": gulmerr.NotMaster("lk2", c.Servers[1].Address)}
		})
		c.Servers[1].Set(func(s *tooltest.Script) { s.Status.Role = gulmv1.ServerRole_SERVER_ROLE_MASTER })
		arrived(t, c.Servers[1], on(c, expire...))
	})
	t.Run("two claim it", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		for _, s := range c.Servers[1:] {
			s.Set(func(s *tooltest.Script) { s.Status.Term, s.Status.Master = 5, "lk2" })
		}
		c.Servers[1].Set(func(s *tooltest.Script) { s.Status.Role = gulmv1.ServerRole_SERVER_ROLE_MASTER })
		arrived(t, c.Servers[1], on(c, expire...))
	})
	t.Run("after an election", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		noMaster(c)
		asked := 0
		c.Servers[1].Set(func(s *tooltest.Script) {
			s.Before = func(_ string, s *tooltest.Script) {
				if asked++; asked == 3 {
					s.Status.Role, s.Status.Master = gulmv1.ServerRole_SERVER_ROLE_MASTER, "lk2"
				}
			}
		})
		arrived(t, c.Servers[1], on(c, expire...))
	})
	t.Run("two that point at each other", func(t *testing.T) {
		c := tooltest.Start(t, 2, nil)
		for i, s := range c.Servers {
			other := c.Servers[1-i]
			s.Set(func(s *tooltest.Script) {
				s.Refuse = map[string]error{"ForceExpire": gulmerr.NotMaster(other.Name, other.Address)}
			})
		}
		r := run(append(expire, "--server", c.Servers[0].Address, "--timeout", "300ms")...)
		if r.Code != gulmerr.ExitNoQuorum {
			t.Errorf("%+v", r)
		}
	})
	t.Run("none in time", func(t *testing.T) {
		c := tooltest.Start(t, 3, nil)
		noMaster(c)
		r := on(c, append(expire, "--timeout", "2s")...)
		if r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stderr, "no master served within 2s: lk1 is pending; lk2 is pending; lk3 is pending") {
			t.Errorf("%+v", r)
		}
	})
}

// Each command ends by itself when servers accept connections and never answer.
func TestTimeLimit(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Hangs = true })
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"nodelist"},
		{"nodeinfo", "fs01"},
		{"locks"},
		{"shutdown", "lk1"},
		{"expire", "fs01", "--reason", "x"},
		{"ack", "fs01", "--yes"},
	} {
		r := on(c, append(args, "--timeout", "200ms")...)
		if r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stderr, "no answer within") || !strings.Contains(r.Stderr, "what to do: ") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// A master that takes a request and never answers it: nobody knows whether it
// was done, so it is not repeated.
func TestTimeLimit_doubtful(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Before = func(method string, s *tooltest.Script) { s.Hangs = method == "ForceExpire" }
	})
	r := on(c, "expire", "fs01", "--reason", "x", "--timeout", "2s")
	if r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stderr, "it may have been done or not: see gulm_tool nodeinfo fs01") {
		t.Errorf("%+v", r)
	}
}

// One server that hangs does not keep the others from being shown.
func TestStatus_oneServerHangs(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	c.Servers[1].Set(func(s *tooltest.Script) { s.Hangs = true })
	r := on(c, "status", "--timeout", "2s")
	if r.Code != 0 || !strings.Contains(r.Stdout, "unreachable: no answer within") || strings.Count(r.Stdout, "standby") != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAck(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	c.Expire("fs01")
	t.Setenv("SUDO_USER", "")
	t.Setenv("USER", "alice")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if r := tooltest.Run(Main, "fs01\n", "--config", c.Dir, "ack", "fs01"); r.Code != 0 || !strings.Contains(r.Stdout, "fence acknowledged by alice@"+host) {
		t.Errorf("%+v", r)
	}
	if r := on(c, "ack", "fs01", "--yes", "--json"); r.Code != 0 || !strings.HasPrefix(r.Stdout, "{\n  \"node\": \"fs01\"") {
		t.Errorf("%+v", r)
	}
	want := `AcknowledgeFence node:"fs01" operator:"alice@` + host + `" incarnation:3`
	if got := c.Servers[0].Requests(); !slices.Equal(got, []string{want, want}) {
		t.Errorf("requests %q, want twice %q", got, want)
	}
}

func TestTLS(t *testing.T) {
	a := tooltest.NewAuthority(t)
	c := tooltest.Start(t, 3, func(name string) credentials.TransportCredentials { return a.Server("gulm://farm7/server/" + name) })
	admin := a.Flags("gulm://farm7/admin/alice")
	if r := on(c, append(admin, "status")...); r.Code != 0 || strings.Count(r.Stdout, "standby") != 2 {
		t.Errorf("with the configuration: %+v", r)
	}
	if r := run(append(admin, "locks", "--server", c.Servers[2].Address)...); r.Code != 0 {
		t.Errorf("with one server: %+v", r)
	}
	t.Setenv("GULM_TLS_CERT", admin[1])
	t.Setenv("GULM_TLS_KEY", admin[3])
	t.Setenv("GULM_TLS_CA", admin[5])
	if r := on(c, "status"); r.Code != 0 || strings.Contains(on(c, "status", "-h").Stdout, admin[1]) {
		t.Errorf("from the environment: %+v", r)
	}
}

func TestTLS_refused(t *testing.T) {
	a, stranger := tooltest.NewAuthority(t), tooltest.NewAuthority(t)
	uris := map[string]string{"lk1": "gulm://farm7/node/lk1", "lk2": "gulm://other/server/lk2", "lk3": "gulm://farm7/server/lk4"}
	c := tooltest.Start(t, 3, func(name string) credentials.TransportCredentials { return a.Server(uris[name]) })
	r := on(c, append(a.Flags("gulm://farm7/admin/alice"), "status")...)
	for _, want := range []string{"not that of a lock server", `for cluster "other", this is "farm7"`, `that of lock server "lk4", not of "lk3"`} {
		if r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stdout, want) {
			t.Errorf("want %q: %+v", want, r)
		}
	}
	r = on(c, append(stranger.Flags("gulm://farm7/admin/eve"), "status")...)
	if r.Code != gulmerr.ExitNoQuorum || strings.Count(r.Stdout, "unknown authority") != 3 {
		t.Errorf("another CA: %+v", r)
	}
	if r := on(c, "status"); r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stdout, "if it wants certificates, give --tls-cert") {
		t.Errorf("plain text to TLS: %+v", r)
	}
	for name, flags := range map[string][]string{
		`is for cluster "other"`: a.Flags("gulm://other/admin/alice"),
		"not exactly one gulm":   a.Flags("https://farm7/admin/alice"),
		"no such file":           {"--tls-cert", "missing.pem", "--tls-key", "missing.key", "--tls-ca", a.CA()},
	} {
		r := on(c, append(flags, "status")...)
		if r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, name) || strings.Contains(r.Stderr, "Usage:") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A broken pipe must not look like success.
func TestOutputFails(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	var stderr strings.Builder
	for _, verb := range []string{"status", "nodelist", "locks", "version"} {
		if code := Main([]string{"--config", c.Dir, verb}, strings.NewReader(""), brokenPipe{}, &stderr); code != gulmerr.ExitFailed {
			t.Errorf("%s: exit code %d", verb, code)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
