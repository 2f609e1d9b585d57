package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lock_gulmd/cmd/internal/daemon"
	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/cmd/internal/tool/tooltest"
	"lock_gulmd/fence"
	"lock_gulmd/fence/process"
	"lock_gulmd/proto/gulmerr"
)

// TestMain lets tests start a real lock_gulmd from this test binary.
func TestMain(m *testing.M) {
	fence.Supervise()
	for _, name := range []string{"GULM_CONFIG", tool.EnvCert, tool.EnvKey, tool.EnvCA} {
		os.Unsetenv(name)
	}
	testscript.Main(m, map[string]func(){
		"fence_process": func() { os.Exit(process.Main(os.Stdin, os.Stdout, os.Stderr, os.Args[1:])) },
		"lock_holder":   func() { os.Exit(holdLock(os.Args[1:], os.Stdout, os.Stderr)) },
		"lock_gulmd":    func() { os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// run runs gulm_tool in this process.
func run(args ...string) tooltest.Result { return tooltest.Run(Main, "", args...) }

// on runs gulm_tool with the configuration of a cluster.
func on(c *tooltest.Cluster, args ...string) tooltest.Result {
	return run(append([]string{"--config", c.Dir}, args...)...)
}

// golden checks the exit code and everything that was written.
func golden(t *testing.T, c *tooltest.Cluster, name string, code int, r tooltest.Result) {
	t.Helper()
	if r.Code != code {
		t.Errorf("exit code %d, want %d: %s", r.Code, code, r.Stderr)
	}
	text := r.Stdout
	if r.Stderr != "" {
		text += "-- stderr --\n" + r.Stderr
	}
	tooltest.Golden(t, name, c.Stable(text))
}

func TestUsage(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	for _, args := range [][]string{
		{},
		{"bogus"},
		{"statsu"},
		{"--bogus"},
		{"status", "lk1", "lk2"},
		{"status", "--bogus"},
		{"status", "--timeout", "0s"},
		{"status", "--timeout", "soon"},
		{"status", "--tls-cert", "x.pem"},
		{"status", "lk1:notaport"},
		{"status", "lk1:0"},
		{"status", ""},
		{"nodelist", "a", "b"},
		{"nodeinfo"},
		{"nodeinfo", "a", "b"},
		{"locks", "extra"},
		{"locks", "--limit", "-1"},
		{"shutdown"},
		{"shutdown", "lk1", "lk2"},
		{"expire"},
		{"expire", "fs01"},
		{"expire", "fs01", "--reason", " "},
		{"expire", "fs01", "fs02", "--reason", "x"},
		{"forceexpire", "fs01"},
		{"ack"},
		{"ack", "a", "b"},
		{"version", "extra"},
	} {
		r := on(c, args...)
		if r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "Usage:") || r.Stdout != "" {
			t.Errorf("%q: exit code %d, stdout %q, stderr:\n%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	if got := c.Servers[0].Requests(); len(got) > 0 {
		t.Errorf("wrong command lines changed something: %q", got)
	}
	if r := run("statsu"); !strings.Contains(r.Stderr, "status") {
		t.Errorf("no suggestion: %s", r.Stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"status", "--help"}} {
		r := run(args...)
		if r.Code != 0 || !strings.Contains(r.Stdout, "Exit status:") || r.Stderr != "" {
			t.Errorf("%q: exit code %d, stdout:\n%s\nstderr:\n%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	for _, cmd := range rootCommand(&tool.Env{}).Commands() {
		if r := run(cmd.Name(), "-h"); r.Code != 0 || !strings.Contains(r.Stdout, "gulm_tool "+cmd.Use) || cmd.Long == "" {
			t.Errorf("%s: exit code %d, help:\n%s", cmd.Name(), r.Code, r.Stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	want := "gulm_tool " + tool.Version() + "\n"
	for _, args := range [][]string{{"version"}, {"-V"}, {"--version"}} {
		if r := run(args...); r.Code != 0 || r.Stdout != want || r.Stderr != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := run("version", "--json"); r.Code != 0 || !strings.Contains(r.Stdout, `"version"`) {
		t.Errorf("%+v", r)
	}
}

func TestConfiguration(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	empty := t.TempDir()
	first := c.Servers[0].Address

	t.Run("none", func(t *testing.T) {
		r := run("--config", empty, "status")
		if r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "no cluster configuration found") || !strings.Contains(r.Stderr, "--server HOST") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("one server is enough", func(t *testing.T) {
		for _, args := range [][]string{
			{"status", first},
			{"status", "--server", first},
			{"status", strings.Replace(first, "127.0.0.1", "localhost", 1)},
			{"status", c.Servers[2].Address},
		} {
			r := run(args...)
			if r.Code != 0 || strings.Count(r.Stdout, "standby") != 2 || strings.Count(r.Stdout, "lk1 ") < 1 {
				t.Errorf("%q: %+v", args, r)
			}
		}
	})
	t.Run("a faulty file does not keep from asking", func(t *testing.T) {
		if err := os.WriteFile(empty+"/cluster.ccs", []byte("cluster {"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GULM_CONFIG", empty)
		if r := run("status"); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "mend the files") {
			t.Errorf("without HOST: %+v", r)
		}
		if r := run("status", first); r.Code != 0 || !strings.Contains(r.Stderr, "going on without") {
			t.Errorf("with HOST: %+v", r)
		}
	})
	t.Run("names of servers", func(t *testing.T) {
		for _, host := range []string{"lk2", c.Servers[1].Address} {
			if r := on(c, "shutdown", host); r.Code != 0 || r.Stdout != "lk2 has logged out and stops\n" {
				t.Errorf("%s: %+v", host, r)
			}
		}
		r := on(c, "shutdown", "lk9")
		if r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "lk9:40040 is no lock server of the configuration, which has lk1, lk2, lk3") {
			t.Errorf("lk9: %+v", r)
		}
	})
	t.Run("another cluster", func(t *testing.T) {
		c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Cluster = "other" })
		if r := on(c, "locks"); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, `belongs to cluster "other", not "farm7"`) {
			t.Errorf("%+v", r)
		}
	})
}

func TestPlainTextStaysOnThisMachine(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "192.0.2.1:40040", "[2001:db8::1]:40040", "2001:db8::1", "lk1.example"} {
		for _, args := range [][]string{{"status", host}, {"locks", "--server", host}, {"shutdown", host}} {
			r := run(args...)
			if r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "plain text is for loopback addresses only") ||
				!strings.Contains(r.Stderr, "what to do: give --tls-cert") {
				t.Errorf("%q: %+v", args, r)
			}
		}
	}
	// What a server says does not make us ask other machines either.
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Status.Servers[0].Address = "192.0.2.1:40040"
		s.Status.Servers[0].Name = "lk9"
	})
	if r := run("status", c.Servers[0].Address); !strings.Contains(r.Stdout, "192.0.2.1:40040 is on another machine") {
		t.Errorf("%+v", r)
	}
}
