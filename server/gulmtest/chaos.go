package gulmtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"lock_gulmd/fence/sim"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// Chaos puts faults into a running cluster for a while, then mends everything
// and demands that it works again.
type Chaos struct {
	Cluster  *Cluster
	Workload *Workload
	Seed     *Seed
	// Lies lets fencers say that they succeeded when they did not. Only careful
	// workloads survive that.
	Lies bool

	rnd *rand.Rand
}

// limits of the recovery after the last fault was mended. A fence that hangs is
// given up after agentLimit, and a node to which it may still do something is held
// for the time limits of start, agent and device together, 95 s.
const (
	mendLimit = agentLimit + 3*time.Minute
	bootLimit = 15 * time.Second
)

// Run does it for d of simulated time.
func (x *Chaos) Run(d time.Duration) {
	c := x.Cluster
	x.rnd = x.Seed.Rand("chaos")
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var operator sync.WaitGroup
	operator.Go(func() { x.operate(ctx) })
	defer operator.Wait()
	defer cancel()
	for time.Since(began) < d {
		x.fault()
		time.Sleep(time.Duration(500+x.rnd.IntN(6000)) * time.Millisecond)
		if x.rnd.IntN(3) == 0 {
			c.Net.HealAll()
		}
	}
	x.mend()
	x.recovered()
	x.Seed.Campaign.Hours.Add(time.Since(began))
}

// operate boots nodes that are off, as an operator does.
func (x *Chaos) operate(ctx context.Context) {
	rnd := x.Seed.Rand("operator")
	for ctx.Err() == nil {
		for _, name := range x.Cluster.NodeNames() {
			if !x.Cluster.Node(name).Up() && rnd.IntN(3) == 0 {
				x.Workload.Boot(name)
			}
		}
		sleepCtx(ctx, time.Duration(rnd.IntN(int(bootLimit/3))))
	}
}

// faults are the kinds of fault with how often each is chosen.
var faults = []struct {
	weight int
	what   string
	do     func(*Chaos) bool
}{
	{3, "master killed", (*Chaos).killMaster},
	{2, "server killed", (*Chaos).killServer},
	{5, "server restarted", (*Chaos).restartServer},
	{3, "node killed", (*Chaos).killNode},
	{3, "host paused", (*Chaos).pauseHost},
	{3, "servers partitioned", (*Chaos).partitionServers},
	{3, "node cut off", (*Chaos).cutNode},
	{2, "one-way cut", (*Chaos).cutOneWay},
	{2, "slow link", (*Chaos).slowLink},
	{2, "fencer faulty", (*Chaos).spoilFencer},
	{1, "quorum lost", (*Chaos).loseQuorum},
	{1, "server shut down", (*Chaos).shutdownServer},
}

// fault does one at random.
func (x *Chaos) fault() {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	pick := x.rnd.IntN(total)
	for _, f := range faults {
		if pick -= f.weight; pick < 0 {
			replaying := x.Cluster.Disk.Replaying()
			if f.do(x) {
				x.Seed.Campaign.Sometimes.Hit(f.what)
				if replaying {
					x.Seed.Campaign.Sometimes.Hit(f.what + " during a replay")
				}
				x.Cluster.opt.Log.Info("fault", "what", f.what)
			}
			return
		}
	}
}

func (x *Chaos) servers() []string { return x.Cluster.Config.Lock.Servers }

func (x *Chaos) anyServer() string { return x.servers()[x.rnd.IntN(len(x.servers()))] }

func (x *Chaos) anyNode() string {
	names := x.Cluster.NodeNames()
	return names[x.rnd.IntN(len(names))]
}

func (x *Chaos) anyHost() string {
	if x.rnd.IntN(2) == 0 {
		return x.anyServer()
	}
	return x.anyNode()
}

// down reports whether a server does not run: killed, shut down, or fenced.
func (x *Chaos) down(name string) bool { return x.Cluster.Server(name) == nil }

// mayKill keeps a quorum of server processes alive.
func (x *Chaos) mayKill() bool {
	up := 0
	for _, name := range x.servers() {
		if !x.down(name) {
			up++
		}
	}
	return up-1 >= x.Cluster.Config.Quorum()
}

func (x *Chaos) kill(name string) bool {
	if name == "" || x.down(name) {
		return false
	}
	x.Cluster.KillServer(name)
	return true
}

func (x *Chaos) killMaster() bool { return x.mayKill() && x.kill(x.Cluster.Master()) }
func (x *Chaos) killServer() bool { return x.mayKill() && x.kill(x.anyServer()) }

func (x *Chaos) restartServer() bool {
	for _, name := range x.servers() {
		if x.down(name) {
			x.Cluster.StartServer(name)
			return true
		}
	}
	return false
}

// loseQuorum kills all servers but one for a while.
func (x *Chaos) loseQuorum() bool {
	for _, name := range x.servers()[1:] {
		x.kill(name)
	}
	time.Sleep(time.Duration(5+x.rnd.IntN(20)) * time.Second)
	x.restartServer()
	return true
}

func (x *Chaos) shutdownServer() bool {
	name := x.anyServer()
	if x.down(name) || !x.mayKill() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if x.Cluster.ShutdownServer(ctx, name, false) != nil {
		return false // refused, or no master to tell
	}
	return true
}

func (x *Chaos) killNode() bool {
	n := x.Cluster.Node(x.anyNode())
	if !n.Up() {
		return false
	}
	n.Kill()
	return true
}

// pauseHost stops a host for a time around the expiry time.
func (x *Chaos) pauseHost() bool {
	h := x.Cluster.Net.Host(x.anyHost())
	h.Pause()
	time.Sleep(time.Duration(x.rnd.IntN(10_000)) * time.Millisecond)
	h.Resume()
	return true
}

// partitionServers splits the hosts into two groups at random.
func (x *Chaos) partitionServers() bool {
	var a, b []string
	for _, name := range append(append([]string(nil), x.servers()...), x.Cluster.NodeNames()...) {
		if x.rnd.IntN(2) == 0 {
			a = append(a, name)
		} else {
			b = append(b, name)
		}
	}
	x.Cluster.Net.Partition(a, b)
	return true
}

// cutNode separates one node from some servers, or all.
func (x *Chaos) cutNode() bool {
	servers := x.servers()
	if x.rnd.IntN(2) == 0 {
		servers = servers[:1+x.rnd.IntN(len(servers))]
	}
	x.Cluster.Net.Partition([]string{x.anyNode()}, servers)
	return true
}

func (x *Chaos) cutOneWay() bool {
	from, to := x.anyHost(), x.anyHost()
	if from == to {
		return false
	}
	x.Cluster.Net.CutOneWay(from, to)
	return true
}

func (x *Chaos) slowLink() bool {
	from, to := x.anyHost(), x.anyHost()
	if from == to {
		return false
	}
	x.Cluster.Net.SetDelay(from, to, time.Duration(x.rnd.IntN(300))*time.Millisecond, 50*time.Millisecond)
	return true
}

// spoilFencer lets the next fences of a node fail, take long, hang, or lie.
func (x *Chaos) spoilFencer() bool {
	b := sim.Behaviour{Delay: time.Duration(x.rnd.IntN(15)) * time.Second}
	switch x.rnd.IntN(3) {
	case 0:
		b.Fail = 1 + x.rnd.IntN(3)
	case 1:
		b.Hang = true
	case 2:
		b.Lie = x.Lies
	}
	x.Cluster.Power.Set(x.anyNode(), b)
	return true
}

// mend undoes all faults.
func (x *Chaos) mend() {
	x.Workload.Calm()
	for _, name := range x.Cluster.NodeNames() {
		x.Cluster.Power.Set(name, sim.Behaviour{})
	}
	x.Cluster.Net.HealAll()
	for _, a := range append(append([]string(nil), x.servers()...), x.Cluster.NodeNames()...) {
		for _, b := range x.servers() {
			x.Cluster.Net.SetDelay(a, b, 0, 0)
			x.Cluster.Net.SetDelay(b, a, 0, 0)
		}
	}
	for x.restartServer() {
	}
}

// recovered demands that everything works again within mendLimit: a master, no
// pending fence, every node completes rounds, and all replicas agree.
func (x *Chaos) recovered() {
	c := x.Cluster
	var repair sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer repair.Wait()
	defer cancel()
	repair.Go(func() { x.repair(ctx) })
	c.AwaitMaster(mendLimit)
	before := map[string]int{}
	for _, name := range c.NodeNames() {
		before[name] = x.Workload.Rounds(name)
	}
	for _, name := range c.NodeNames() {
		c.Await(mendLimit, "rounds of "+name, func() bool { return x.Workload.Rounds(name) > before[name]+3 })
	}
	c.Await(mendLimit, "the end of all fences", func() bool { return x.pendingFences() == 0 })
	x.countFences()
	c.Await(mendLimit, "the end of all recoveries", x.allReplayed)
	x.Seed.Campaign.Sometimes.Add("recoverer died", c.Disk.RecoverersDied())
	for _, name := range c.NodeNames() {
		c.Node(name).die()
		c.Node(name).wait()
	}
	c.Await(mendLimit, "equal replicas", x.replicasAgree)
}

// countFences counts what happens sometimes: fenced servers, pauses of fencing.
func (x *Chaos) countFences() {
	for _, call := range x.Cluster.Power.Calls() {
		if x.Cluster.Config.IsServer(call.Plan.Node) {
			x.Seed.Campaign.Sometimes.Hit("server fenced")
		}
	}
	if s := x.Cluster.Server(x.Cluster.Master()); s != nil {
		s.View(func(st *state.State) {
			for range st.Breaker().Trips {
				x.Seed.Campaign.Sometimes.Hit("fencing paused")
			}
		})
	}
}

// allReplayed reports whether no journal is dirty, and no record of a life that is
// over has not been replayed.
func (x *Chaos) allReplayed() bool {
	if x.Cluster.Disk.Unreplayed() != "" {
		return false
	}
	clean := false
	if s := x.Cluster.Server(x.Cluster.Master()); s != nil {
		s.View(func(st *state.State) {
			clean = true
			for _, p := range st.Journals().Spaces() {
				for i := range p.Journals {
					clean = clean && !p.Journals[i].Dirty()
				}
				clean = clean && len(p.Late) == 0
			}
		})
	}
	return clean
}

func (x *Chaos) pendingFences() int {
	pending := 1
	if s := x.Cluster.Server(x.Cluster.Master()); s != nil {
		s.View(func(st *state.State) { pending = len(st.Members().Pending()) })
	}
	return pending
}

// replicasAgree compares the states of all servers at the same index.
func (x *Chaos) replicasAgree() bool {
	type mark struct {
		index, digest, locks uint64
	}
	var marks []mark
	for _, name := range x.servers() {
		s := x.Cluster.Server(name)
		if s == nil {
			return false
		}
		s.View(func(st *state.State) {
			if err := st.Check(); err != nil {
				x.Cluster.t.Errorf("server %s: %v", name, err)
			}
			marks = append(marks, mark{st.Index(), st.Digest(), st.Locks().Digest()})
			for _, n := range st.Members().Nodes() {
				if n.Fence.State == member.FenceProved {
					x.Seed.Campaign.Sometimes.Hit("fence proved")
				}
			}
		})
	}
	for _, m := range marks[1:] {
		if m.index != marks[0].index {
			return false
		}
		if m != marks[0] {
			x.Cluster.t.Errorf("replicas differ at index %d: %v", m.index, marks)
		}
	}
	return true
}

// repair starts servers whose machine was fenced late, as an operator does.
func (x *Chaos) repair(ctx context.Context) {
	for ctx.Err() == nil {
		sleepCtx(ctx, bootLimit)
		if ctx.Err() == nil {
			x.restartServer()
		}
	}
}
