package ccs

import (
	"fmt"
	"io"
	"time"
)

// Print writes the effective configuration: defaults filled in, comments gone,
// secrets as [Redacted], the same text for the same configuration. Each file's
// section stands below a comment with the file's name and is valid in it.
// The error is that of the writer.
func (c *Config) Print(w io.Writer) error {
	for i, file := range fileOrder {
		gap := ""
		if i > 0 {
			gap = "\n"
		}
		if _, err := fmt.Fprintf(w, "%s# %s\n", gap, file); err != nil {
			return err
		}
		if err := c.tree(file).write(w); err != nil {
			return err
		}
	}
	return nil
}

// tree returns what one file would hold.
func (c *Config) tree(file string) *section {
	root := &section{file: file}
	top := root.add(topSection[file])
	switch file {
	case ClusterFile:
		top.set("name", stringValue(c.Name))
		lock := top.add("lock_gulm")
		lock.set("servers", serversValue(c.Lock.Servers))
		lock.set("durability", stringValue(c.Lock.Durability))
		for _, s := range lockSettings {
			lock.set(s.key, s.value(&c.Lock))
		}
		for _, s := range switchSettings {
			lock.set(s.key, stringValue(yesNo(*s.to(&c.Lock))))
		}
	case NodesFile:
		for i := range c.Nodes {
			c.Nodes[i].fill(top.add(c.Nodes[i].Name))
		}
	case FenceFile:
		for _, d := range c.Devices {
			s := top.add(d.Name)
			s.set("agent", stringValue(d.Agent))
			if d.provesSet {
				s.set("proves", stringValue(d.proves()))
			}
			fillParams(s, d.Timeout, d.Params)
		}
	}
	return root
}

func serversValue(names []string) value {
	v := value{kind: kindArray}
	for _, name := range names {
		v.list = append(v.list, stringValue(name))
	}
	return v
}

// fill sets the items of a node's section.
func (n *Node) fill(s *section) {
	faces := s.add("ip_interfaces")
	for _, face := range n.Interfaces {
		faces.set(face.Name, stringValue(face.Addr.String()))
	}
	if n.UseDev != "" {
		s.set("usedev", stringValue(n.UseDev))
	}
	if n.CorePort != 0 {
		s.set("core_port", intValue(n.CorePort))
	}
	if n.RaftPort != 0 {
		s.set("raft_port", intValue(n.RaftPort))
	}
	if len(n.Methods) == 0 {
		return
	}
	methods := s.add("fence")
	for _, m := range n.Methods {
		method := methods.add(m.Name)
		for _, use := range m.Uses {
			fillParams(method.add(use.Device), use.Timeout, use.Params)
		}
	}
}

// fillParams sets a timeout, unless it is 0, and parameters.
func fillParams(s *section, timeout time.Duration, params []Param) {
	if timeout != 0 {
		s.set("timeout", secondsValue(timeout))
	}
	for _, p := range params {
		if p.Hidden {
			s.set(p.Key, stringValue(Redacted))
			continue
		}
		s.set(p.Key, stringValue(p.Value))
	}
}
