package ccs

import (
	"fmt"
	"net/netip"
	"strings"
)

// readNodes reads the section nodes.
func (l *loader) readNodes(top *section) {
	before := seen{}
	for _, it := range top.items {
		if it.sec == nil {
			l.fault(top.file, it.line, fmt.Sprintf("%q is a value, but nodes are sections", it.key),
				fmt.Sprintf("write %s { ip_interfaces { ... } fence { ... } }", it.key))
			continue
		}
		l.checkName(top.file, "node", it.key, it.line, maxNodeName)
		n := l.readNode(it.sec)
		if l.unique(before, top.file, "node", it.key, it.line) {
			l.cfg.Nodes = append(l.cfg.Nodes, n)
		}
	}
	if len(top.items) == 0 {
		l.fault(top.file, top.line, "there are no nodes", "list every machine, lock servers included")
	}
}

// readNode reads one node.
func (l *loader) readNode(s *section) Node {
	n := Node{Name: s.name, line: s.line}
	useDevLine := 0
	port := func(to *int) handler {
		return handler{value: func(it item) {
			if p, ok := l.integer(s, it, 1, 65535); ok {
				*to = p
			}
		}}
	}
	l.walk(s, map[string]handler{
		"ip_interfaces": {section: func(sub *section) {
			n.Interfaces = l.readInterfaces(n.Name, sub)
		}},
		"usedev": {value: func(it item) {
			useDevLine = it.line
			n.UseDev, _ = l.str(s, it)
		}},
		"core_port": port(&n.CorePort),
		"raft_port": port(&n.RaftPort),
		"fence": {section: func(sub *section) {
			if len(sub.items) == 0 {
				n.fenceLine = sub.line
			}
			n.Methods = l.readMethods(n.Name, sub)
		}},
	}, nil)
	if !s.has("ip_interfaces") {
		l.fault(s.file, s.line, fmt.Sprintf("the node %q has no addresses", n.Name), `write ip_interfaces { eth0 = "192.0.2.1" }`)
	}
	if !s.has("fence") {
		n.fenceLine = s.line
	}
	l.chooseAddr(&n, useDevLine)
	return n
}

// readInterfaces reads the addresses of a node; those that are no addresses
// are left out after a fault.
func (l *loader) readInterfaces(node string, s *section) []Interface {
	var list []Interface
	before := seen{}
	for _, it := range s.items {
		if it.key == "usedev" {
			l.fault(s.file, it.line, `"usedev" does not belong into ip_interfaces`, "move it one level up, beside ip_interfaces")
			continue
		}
		if it.sec != nil {
			l.fault(s.file, it.line, fmt.Sprintf("the interface %q is a section", it.key), fmt.Sprintf(`write %s = "192.0.2.1"`, it.key))
			continue
		}
		if it.val.kind != kindString {
			l.wrongType(s, it, "an address in quotes", fmt.Sprintf(`write %s = "192.0.2.1"`, it.key))
			continue
		}
		if !l.unique(before, s.file, "interface", it.key, it.line) {
			continue
		}
		addr, wrong, cure := parseAddr(it.val.text)
		if wrong != "" {
			l.fault(s.file, it.line, fmt.Sprintf("the address %q of node %q %s", it.val.text, node, wrong), cure)
			continue
		}
		list = append(list, Interface{Name: it.key, Addr: addr, line: it.line})
	}
	if len(s.items) == 0 {
		l.fault(s.file, s.line, fmt.Sprintf("the node %q has no addresses", node), `write ip_interfaces { eth0 = "192.0.2.1" }`)
	}
	return list
}

// parseAddr reads the address of an interface.
func parseAddr(text string) (addr netip.Addr, wrong, cure string) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return addr, "is a network", fmt.Sprintf("write %q", prefix.Addr())
		}
		if pair, err := netip.ParseAddrPort(text); err == nil {
			return addr, "has a port", fmt.Sprintf("write %q; ports are set by core_port and raft_port", pair.Addr())
		}
		return addr, "is not an IP address", "write an IPv4 or IPv6 address; names of hosts are not looked up"
	}
	addr = addr.Unmap()
	switch {
	case addr.IsUnspecified():
		return addr, "stands for every address", "write the one under which other machines reach the node"
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, "belongs to no single machine", "write the one under which other machines reach the node"
	case addr.Is6() && addr.IsLinkLocalUnicast() && addr.Zone() == "":
		return addr, "is link-local and does not say on which link", fmt.Sprintf(`write "%s%%eth0" with the interface's name, or better a routed address`, addr)
	}
	return addr, "", ""
}

// chooseAddr sets the address for lock traffic.
func (l *loader) chooseAddr(n *Node, useDevLine int) {
	if len(n.Interfaces) == 0 {
		return
	}
	if useDevLine == 0 {
		n.Addr = n.Interfaces[0].Addr
		return
	}
	names := make([]string, len(n.Interfaces))
	for i, face := range n.Interfaces {
		names[i] = face.Name
		if face.Name == n.UseDev {
			n.Addr = face.Addr
			return
		}
	}
	l.fault(NodesFile, useDevLine, fmt.Sprintf("usedev of node %q is %q, which is none of its interfaces", n.Name, n.UseDev),
		didYouMean(n.UseDev, names, "choose one of "+strings.Join(names, " ")))
}

// readMethods reads the section fence of a node.
func (l *loader) readMethods(node string, s *section) []Method {
	var methods []Method
	before := seen{}
	for _, it := range s.items {
		if it.sec == nil {
			l.fault(s.file, it.line, fmt.Sprintf("%q is a value, but fence holds methods, which are sections", it.key),
				"write fence { method { device { ... } } }")
			continue
		}
		l.checkName(s.file, "method", it.key, it.line, maxFenceName)
		m := Method{Name: it.key, line: it.line, Uses: l.readUses(it.sec)}
		if len(it.sec.items) == 0 {
			l.fault(s.file, it.line, fmt.Sprintf("the method %q of node %q has no devices: it would fence nothing and count as done", it.key, node),
				fmt.Sprintf("write %s { device { ... } } or remove it", it.key))
		}
		if l.unique(before, s.file, "method", it.key, it.line) {
			methods = append(methods, m)
		}
	}
	return methods
}

// readUses reads the devices of a method. One may be there several times.
func (l *loader) readUses(s *section) []Use {
	var uses []Use
	for _, it := range s.items {
		if it.sec == nil {
			l.fault(s.file, it.line, fmt.Sprintf("%q is a value, but a method holds devices, which are sections", it.key),
				fmt.Sprintf("write device { %s = ... }", it.key))
			continue
		}
		use := Use{Device: it.key, line: it.line}
		for _, p := range it.sec.items {
			switch p.key {
			case "timeout":
				l.readTimeout(it.sec, p, &use.Timeout)
			case "proves":
				l.fault(s.file, p.line, `"proves" belongs to a device, not to its use`, "move it to the device in "+FenceFile)
			case "agent":
				l.fault(s.file, p.line, `"agent" belongs to a device, not to its use`, "move it to the device in "+FenceFile)
			}
		}
		use.Params = l.readParams(it.sec)
		uses = append(uses, use)
	}
	return uses
}
