package ccs

import (
	"fmt"
	"net/netip"
)

// crossCheck checks what several sections or files say together. It runs even
// when single values are at fault, so that one look shows everything.
func (l *loader) crossCheck() {
	l.checkServers()
	l.checkFenceMethods()
	l.checkPorts()
	l.checkAddresses()
	used := make(map[string]bool, len(l.cfg.Devices))
	for i := range l.cfg.Nodes {
		n := &l.cfg.Nodes[i]
		for _, m := range n.Methods {
			l.checkMethod(n, m, used)
		}
	}
	for _, d := range l.cfg.Devices {
		if !used[d.Name] {
			l.warn(FenceFile, d.line, fmt.Sprintf("no node uses the fence device %q", d.Name), "use it in "+NodesFile+" or remove it")
		}
	}
	for _, file := range l.open {
		if line, ok := l.plainSecrets[file]; ok {
			l.warn(file, line, "everybody on this machine can read the passwords in this file",
				"run: chmod 640 "+file+", or keep them in files of their own and write passwd_file = ...")
		}
	}
}

// checkServers checks that the lock servers are nodes.
func (l *loader) checkServers() {
	names := make([]string, len(l.cfg.Nodes))
	for i, n := range l.cfg.Nodes {
		names[i] = n.Name
	}
	for i, name := range l.cfg.Lock.Servers {
		if _, ok := l.cfg.Node(name); !ok {
			l.fault(ClusterFile, l.serverLines[i], fmt.Sprintf("the server %q is no node", name),
				orDidYouMean(name, names, "add it to "+NodesFile+", since servers are fenced like any node"))
		}
	}
	if len(l.cfg.Lock.Servers) == 4 {
		l.warn(ClusterFile, l.serverLines[0], "four servers survive the loss of one, just as three do", "use three or five")
	}
}

// checkPorts checks the ports that nodes set for themselves.
func (l *loader) checkPorts() {
	for i := range l.cfg.Nodes {
		n := &l.cfg.Nodes[i]
		if n.CorePort == 0 && n.RaftPort == 0 {
			continue
		}
		if !l.cfg.IsServer(n.Name) {
			l.fault(NodesFile, n.line, fmt.Sprintf("the node %q sets a port but is no lock server", n.Name),
				"remove core_port and raft_port: only servers listen")
			continue
		}
		if core, raft := l.cfg.ports(n); core == raft {
			l.fault(NodesFile, n.line, fmt.Sprintf("core_port and raft_port of node %q are both %d", n.Name, core), "choose two ports")
		}
	}
}

// checkAddresses checks that no two nodes have one address. Servers may share
// one if they listen on different ports, for a cluster on one machine.
func (l *loader) checkAddresses() {
	type owner struct {
		node *Node
		line int
	}
	owners := map[netip.Addr][]owner{}
	loopback, real := 0, 0
	for i := range l.cfg.Nodes {
		n := &l.cfg.Nodes[i]
		for _, face := range n.Interfaces {
			if face.Addr.IsLoopback() {
				loopback = face.line
			} else {
				real = face.line
			}
			for _, o := range owners[face.Addr] {
				if l.mayShare(o.node, n, face.Addr) {
					continue
				}
				l.fault(NodesFile, face.line,
					fmt.Sprintf("the address %s of node %q is also that of node %q on line %d", face.Addr, n.Name, o.node.Name, o.line),
					"give each node its own; only servers with different ports may share one")
			}
			owners[face.Addr] = append(owners[face.Addr], owner{node: n, line: face.line})
		}
	}
	if loopback > 0 && real > 0 {
		l.warn(NodesFile, loopback, "some addresses are loopback addresses, others are not",
			"machines cannot reach each other's loopback addresses; write real ones")
	}
}

// mayShare tells whether two nodes may have one address.
func (l *loader) mayShare(a, b *Node, addr netip.Addr) bool {
	if a == b || !l.cfg.IsServer(a.Name) || !l.cfg.IsServer(b.Name) || a.Addr != addr || b.Addr != addr {
		return false
	}
	aCore, aRaft := l.cfg.ports(a)
	bCore, bRaft := l.cfg.ports(b)
	return aCore != bCore && aCore != bRaft && aRaft != bCore && aRaft != bRaft
}

// checkMethod checks that a method's devices are there and that, together,
// they fence the node.
func (l *loader) checkMethod(n *Node, m Method, used map[string]bool) {
	names := make([]string, len(l.cfg.Devices))
	for i, d := range l.cfg.Devices {
		names[i] = d.Name
	}
	where := fmt.Sprintf("the method %q of node %q", m.Name, n.Name)
	stops, reboots, whole := false, 0, true
	for _, use := range m.Uses {
		d, ok := l.cfg.Device(use.Device)
		if !ok {
			whole = false
			l.fault(NodesFile, use.line, fmt.Sprintf("%s uses the fence device %q, which nobody defined", where, use.Device),
				orDidYouMean(use.Device, names, "add it to "+FenceFile))
			continue
		}
		used[d.Name] = true
		action := actionOf(mergeParams(use, d))
		agent := agentName(d.Agent)
		if noFenceActions[action] {
			l.fault(NodesFile, use.line, fmt.Sprintf("%s asks device %q for %q, which stops nothing", where, d.Name, action),
				"write off or reboot, or leave it to the agent")
			whole = false
			continue
		}
		if what, ok := noReboot[agent]; ok && len(l.cfg.Lock.Servers) > 1 {
			l.fault(NodesFile, use.line,
				fmt.Sprintf("%s uses device %q, whose agent %s %s and cannot reboot the node", where, d.Name, agent, what),
				"clusters with several lock servers need agents that do, such as fence_ipmilan or a power switch")
		}
		if !onActions[action] && noFence[agent] == "" {
			stops = true
		}
		if (action == "reboot" || action == "" && rebootsByDefault(agent)) && agent != watchdogAgent {
			reboots++
		}
	}
	if !stops && whole && len(m.Uses) > 0 {
		l.fault(NodesFile, m.line, where+" has no step that stops the node", "add a device with off or reboot")
	}
	if reboots > 1 {
		l.warn(NodesFile, m.line, where+" reboots several devices: they are all switched off, then checked, then switched on, so that a node with two power supplies loses power",
			"to say so yourself, write off for each of them, then on for each of them")
	}
	if l.waits(m) && m.Name != n.Methods[len(n.Methods)-1].Name {
		l.warn(NodesFile, m.line, where+" waits for the node's own watchdog, but is not its last method", "put it last: it is the slowest, and proves the least")
	}
}

// waits tells whether a method relies on the node's own watchdog.
func (l *loader) waits(m Method) bool {
	for _, use := range m.Uses {
		if d, ok := l.cfg.Device(use.Device); ok && agentName(d.Agent) == watchdogAgent {
			return true
		}
	}
	return false
}

// checkPlans lets whoever runs the methods say what it would refuse: better now
// than when a node has failed. It needs a configuration without other faults.
func (l *loader) checkPlans() {
	for i := range l.cfg.Nodes {
		n := &l.cfg.Nodes[i]
		plan, _ := l.cfg.FencePlan(n.Name)
		for j, m := range plan.Methods {
			if err := m.Validate(n.Name); err != nil {
				text := fmt.Sprintf("the method %q of node %q cannot be run: %v", m.Name, n.Name, err)
				l.fault(NodesFile, n.Methods[j].line, text, "change the method or its devices")
			}
		}
	}
}
