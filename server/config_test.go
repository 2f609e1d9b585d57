package server_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/client"
	"lock_gulmd/server"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/replica"
)

// simulated returns the configuration of a simulated cluster with something
// replaced; that it is the same without a replacement is tested below.
func simulated(t *testing.T, old, changed string) *ccs.Config {
	t.Helper()
	var nodes strings.Builder
	for i := range 6 {
		name, address := fmt.Sprint("lk", i+1), fmt.Sprint("127.0.1.", i+1)
		if i >= 3 {
			name, address = fmt.Sprint("n", i-2), fmt.Sprint("127.0.2.", i-2)
		}
		fmt.Fprintf(&nodes, "  %s { ip_interfaces { eth0 = %q } fence { power { switch { port = %q } } } }\n", name, address, name)
	}
	src := []string{
		`cluster { name = "sim" lock_gulm { servers = ["lk1", "lk2", "lk3"] heartbeat_rate = 2.000 allowed_misses = 2 fence_servers = "no" } }`,
		"nodes {\n" + nodes.String() + "}\n",
		`fence_devices { switch { agent = "fence_sim" } }`,
	}
	for i := range src {
		src[i] = strings.Replace(src[i], old, changed, 1)
	}
	config, err := ccs.Parse(ccs.Source{Cluster: []byte(src[0]), Nodes: []byte(src[1]), Fence: []byte(src[2])})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// TestConfig_DifferentServerIsRefused and both sides say in their logs which keys
// differ; the others go on.
func TestConfig_DifferentServerIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, changed, key string }{
		"heartbeat rate": {"heartbeat_rate = 2.000", "heartbeat_rate = 3.000", "heartbeat_rate"},
		"misses":         {"allowed_misses = 2", "allowed_misses = 4", "allowed_misses"},
		"a limit":        {"allowed_misses = 2", "allowed_misses = 2 max_locks = 1000", "max_locks"},
		"an address":     {`"127.0.2.3"`, `"127.0.2.30"`, "n3"},
		"a fence port":   {`port = "n2"`, `port = "n22"`, "n2"},
		"a fence agent":  {`"fence_sim"`, `"fence_other"`, "fence_devices"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
				same := w.Config
				if simulated(t, "", "").Digest() != same.Digest() {
					t.Fatal("the test's own copy of the configuration differs")
				}
				odd := w.others(w.Master())[0]
				w.KillServer(odd)
				w.Config = simulated(t, c.old, c.changed)
				w.StartServer(odd)
				w.Config = same
				time.Sleep(30 * time.Second)
				said := w.logs.find("servers refuse each other", "host="+odd)
				if len(said) == 0 {
					t.Fatalf("%s does not say that it is refused", odd)
				}
				named := false
				for _, e := range said {
					named = named || strings.Contains(e.Attrs["keys"], c.key)
				}
				if !named {
					t.Errorf("%s does not name %s but %v", odd, c.key, said)
				}
				if n := len(said); n > 6 {
					t.Errorf("it says so %d times in half a minute", n)
				}
				if st := w.status(odd); st.GetQuorate() {
					t.Errorf("%s believes to be quorate", odd)
				}
				n1 := w.boot("n1")
				n1.take("r", client.EX)
				w.KillServer(odd)
				w.StartServer(odd)
				w.Await(time.Minute, "the corrected server", func() bool { return w.status(odd).GetLocks() == 1 })
			})
		})
	}
}

// TestConfig_OtherClusterIsRefused: two clusters that were given the same
// addresses do not mix.
func TestConfig_OtherClusterIsRefused(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		same := w.Config
		odd := w.others(w.Master())[0]
		w.KillServer(odd)
		w.Net.Host(odd).Start()
		core, err := w.Net.Host(odd).Listen(":40040")
		if err != nil {
			t.Fatal(err)
		}
		layer, err := w.Net.Host(odd).StreamLayer(":40041")
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.Open(server.Options{
			Cluster: simulated(t, `name = "sim"`, `name = "other"`), Name: odd, Memory: replica.NewMemory(), Core: core,
			Raft: plain{layer, w}, Insecure: true, Fencer: w.Power, Dial: w.Net.Host(odd).Dialer(), Log: slog.New(w.logs).With("host", "odd"),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if st := s.Status(); st.Quorate || st.Leading || st.Leader != "" {
			t.Errorf("the other cluster's server says %+v", st)
		}
		if len(w.logs.find("servers refuse each other", "host=odd")) == 0 {
			t.Error("nobody says why")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.Config = same
		w.boot("n1").take("r", client.EX)
	})
}

// TestConfig_UnknownServerName: a name that is no server's is refused at once, in
// words that say what to do.
func TestConfig_UnknownServerName(t *testing.T) {
	_, err := server.Open(server.Options{Cluster: parse(t, loneConfig), Name: "lk9", Core: alone{}, Raft: alone{}, Insecure: true})
	if err == nil || !strings.Contains(err.Error(), `"lk9" is not among the lock servers`) || !strings.Contains(err.Error(), "--name") {
		t.Errorf("opened: %v", err)
	}
}
