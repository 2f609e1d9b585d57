package ccs

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"lock_gulmd/fence"
)

// base is a small valid configuration that tests change by replacing text.
var base = map[string]string{
	ClusterFile: `cluster {
  name = "farm7"
  lock_gulm {
    servers = ["lk1", "lk2", "lk3"]
    heartbeat_rate = 2.0
  }
}`,
	NodesFile: `nodes {
  lk1 { ip_interfaces { eth0 = "10.9.0.11" } fence { power { pdu { port = 1 } } } }
  lk2 { ip_interfaces { eth0 = "2001:db8::12" } core_port = 50040 fence { power { pdu { port = 2 } } } }
  lk3 { ip_interfaces { eth0 = "10.9.0.13" } fence { power { pdu { port = 3 } } } }
  fs01 {
    ip_interfaces { eth0 = "10.9.0.21" eth1 = "10.8.0.21" }
    usedev = "eth1"
    fence {
      board { bmc { passwd = "geheim-node" } }
      both {
        pdu  { port = 4 option = "off" }
        pdu2 { port = 4 option = "off" timeout = 5 }
        pdu  { port = 4 option = "on" }
        pdu2 { port = 4 option = "on" }
      }
    }
  }
}`,
	FenceFile: `fence_devices {
  pdu  { agent = "fence_apc" ipaddr = "10.9.1.1" login = "gulm" passwd = "geheim-pdu" }
  pdu2 { agent = "/opt/fence_apc" ipaddr = "10.9.1.2" plug = 99 timeout = 7.5 }
  bmc  { agent = "fence_ipmilan" ipaddr = "10.9.2.21" password = "geheim-bmc" lanplus = "yes" }
}`,
}

// parseBase parses base after replacing each old text by the new one behind it.
func parseBase(t *testing.T, replace ...string) (*Config, error) {
	t.Helper()
	text := func(file string) []byte { return []byte(strings.NewReplacer(replace...).Replace(base[file])) }
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(base[ClusterFile]+base[NodesFile]+base[FenceFile], replace[i]) {
			t.Fatalf("the base does not hold %q", replace[i])
		}
	}
	return Parse(Source{Dir: t.TempDir(), Cluster: text(ClusterFile), Nodes: text(NodesFile), Fence: text(FenceFile)})
}

func mustBase(t *testing.T, replace ...string) *Config {
	t.Helper()
	cfg, err := parseBase(t, replace...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := mustBase(t, "heartbeat_rate = 2.0", "")
	want := LockGulm{
		Servers:       []string{"lk1", "lk2", "lk3"},
		HeartbeatRate: 2 * time.Second, AllowedMisses: 2,
		CorePort: 40040, RaftPort: 40041, Durability: "disk",
		MaxLocks: 4194304, MaxResources: 4194304, MaxSessions: 4096,
		MaxRequestsInFlight: 1024, MaxLockspaces: 256, HighLocks: 1048576, DropInterval: 10 * time.Second,
		FenceRetryPause: 5 * time.Second, FenceRetryPauseMax: time.Minute,
		BreakerNodes: 10, BreakerPercent: 50, BreakerWindow: 30 * time.Second, TrustReboot: true, FenceServers: true,
		FenceRehearsalInterval: 10 * time.Minute, FenceSettleTime: 30 * time.Second,
	}
	if !reflect.DeepEqual(cfg.Lock, want) {
		t.Errorf("got %+v, want %+v", cfg.Lock, want)
	}
	if cfg.Expiry() != 6*time.Second {
		t.Errorf("nodes expire after %v, want 6s", cfg.Expiry())
	}
	if len(Keys()) != len(lockSettings)+len(switchSettings)+2 {
		t.Errorf("Keys describes %d keys", len(Keys()))
	}
	for _, k := range Keys() {
		if k.Doc == "" || k.Default == "" || k.Range == "" {
			t.Errorf("the key %+v is not described", k)
		}
	}
}

func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		rate, misses string
		want         time.Duration
	}{
		{"15.0", "2", 45 * time.Second},
		{"7.5", "3", 30 * time.Second},
		{"0.1", "2", 300 * time.Millisecond},
		{"1", "1", 2 * time.Second},
	} {
		cfg := mustBase(t, "heartbeat_rate = 2.0", "heartbeat_rate = "+c.rate+" allowed_misses = "+c.misses)
		if got := cfg.Expiry(); got != c.want {
			t.Errorf("%s x (%s+1): nodes expire after %v, want %v", c.rate, c.misses, got, c.want)
		}
	}
}

func TestServers(t *testing.T) {
	cfg := mustBase(t, `"lk1", "lk2"`, `"lk2", "lk1"`)
	want := []Server{
		{Name: "lk2", Rank: 1, Addr: "2001:db8::12", CoreAddr: "[2001:db8::12]:50040", RaftAddr: "[2001:db8::12]:40041"},
		{Name: "lk1", Rank: 2, Addr: "10.9.0.11", CoreAddr: "10.9.0.11:40040", RaftAddr: "10.9.0.11:40041"},
		{Name: "lk3", Rank: 3, Addr: "10.9.0.13", CoreAddr: "10.9.0.13:40040", RaftAddr: "10.9.0.13:40041"},
	}
	if got := cfg.Servers(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !cfg.IsServer("lk3") || cfg.IsServer("fs01") || cfg.IsServer("LK3") {
		t.Error("IsServer is wrong")
	}
	for servers, quorum := range map[string]int{
		`"lk1"`: 1, `"lk1", "lk2", "lk3"`: 2, `"lk1", "lk2", "lk3", "fs01"`: 3,
	} {
		cfg := mustBase(t, `"lk1", "lk2", "lk3"`, servers, " core_port = 50040", map[bool]string{true: "", false: " core_port = 50040"}[quorum == 1])
		if got := cfg.Quorum(); got != quorum {
			t.Errorf("the quorum of %s is %d, want %d", servers, got, quorum)
		}
	}
}

func TestNode(t *testing.T) {
	cfg := mustBase(t)
	n, ok := cfg.Node("fs01")
	if !ok || n.Addr.String() != "10.8.0.21" || len(n.Interfaces) != 2 || n.UseDev != "eth1" {
		t.Errorf("got %+v, %v; usedev must choose 10.8.0.21", n, ok)
	}
	if _, ok := cfg.Node("FS01"); ok {
		t.Error("names of nodes are case-sensitive")
	}
	if limit, ok := cfg.FenceTimeout("pdu2"); !ok || limit != 7500*time.Millisecond {
		t.Errorf("the timeout of pdu2 is %v, %v", limit, ok)
	}
	if limit, ok := cfg.FenceTimeout("pdu"); !ok || limit != time.Minute {
		t.Errorf("the timeout of pdu is %v, %v, want the default", limit, ok)
	}
	if _, ok := cfg.FenceTimeout("nobody"); ok {
		t.Error("an unknown device has a timeout")
	}
}

func TestFencePlan(t *testing.T) {
	cfg := mustBase(t)
	got, ok := cfg.FencePlan("fs01")
	if !ok {
		t.Fatal("there is no plan for fs01")
	}
	pdu := func(option string) fence.Step {
		return fence.Step{Device: "pdu", Agent: "fence_apc", Timeout: time.Minute, Params: []fence.Param{
			{Key: "port", Value: "4"},
			{Key: "option", Value: option},
			{Key: "ipaddr", Value: "10.9.1.1"},
			{Key: "login", Value: "gulm"},
			{Key: "passwd", Value: "geheim-pdu", Secret: true},
		}}
	}
	// plug = 99 of the device gives way to port = 4 of the node: one parameter.
	pdu2 := func(option string, timeout time.Duration) fence.Step {
		return fence.Step{Device: "pdu2", Agent: "/opt/fence_apc", Timeout: timeout, Params: []fence.Param{
			{Key: "port", Value: "4"},
			{Key: "option", Value: option},
			{Key: "ipaddr", Value: "10.9.1.2"},
		}}
	}
	want := fence.Plan{Node: "fs01", Methods: []fence.Method{
		{Name: "board", Power: true, Steps: []fence.Step{{
			Device: "bmc", Agent: "fence_ipmilan", Timeout: time.Minute,
			Params: []fence.Param{
				{Key: "passwd", Value: "geheim-node", Secret: true},
				{Key: "ipaddr", Value: "10.9.2.21"},
				{Key: "lanplus", Value: "yes"},
			},
		}}},
		{Name: "both", Power: true, Steps: []fence.Step{
			pdu("off"), pdu2("off", 5*time.Second), pdu("on"), pdu2("on", 7500*time.Millisecond),
		}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the plan for fs01 is not the one that the files describe")
		for i, m := range got.Methods {
			for j := range m.Steps {
				if i < len(want.Methods) && j < len(want.Methods[i].Steps) && !reflect.DeepEqual(m.Steps[j], want.Methods[i].Steps[j]) {
					t.Errorf("method %d step %d differs", i, j)
				}
			}
		}
	}
	if _, ok := cfg.FencePlan("nobody"); ok {
		t.Error("there is a plan for a node that nobody knows")
	}
}
