package ccs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Names of the three files of a configuration folder.
const (
	ClusterFile = "cluster.ccs"
	NodesFile   = "nodes.ccs"
	FenceFile   = "fence.ccs"
)

// fileOrder is the order in which faults are reported and sections printed.
var fileOrder = []string{ClusterFile, NodesFile, FenceFile}

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	// File is the file's name without its folder, such as "nodes.ccs".
	File string
	// Line counts from 1; 0 speaks of the file as a whole.
	Line int
	// Text says what is wrong. It never holds a secret.
	Text string
	// Cure says what to do about it; it may be empty where Text says it all.
	Cure string
}

// String renders the fault as "file:line: text; cure" on one line.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	b.WriteString(f.Text)
	if f.Cure != "" {
		b.WriteString("; ")
		b.WriteString(f.Cure)
	}
	return b.String()
}

// Faults is the error of [Load] and [Parse]: everything that is wrong with one
// configuration, sorted by file and line. It is never empty.
type Faults struct {
	// Dir is the folder that was read; empty if the text came from elsewhere.
	Dir string
	// List is sorted: cluster.ccs, nodes.ccs, fence.ccs, then by line.
	List []Fault
}

// Error lists all faults, one per line, below a line that counts them.
func (f *Faults) Error() string {
	var b strings.Builder
	noun := "faults"
	if len(f.List) == 1 {
		noun = "fault"
	}
	fmt.Fprintf(&b, "the cluster configuration has %d %s", len(f.List), noun)
	if f.Dir != "" {
		fmt.Fprintf(&b, " (folder %s)", f.Dir)
	}
	for _, one := range f.List {
		b.WriteString("\n  ")
		b.WriteString(one.String())
	}
	return b.String()
}

// sortFaults orders by file, line and text and drops exact repetitions.
func sortFaults(list []Fault) []Fault {
	slices.SortStableFunc(list, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(slices.Index(fileOrder, a.File), slices.Index(fileOrder, b.File)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Text, b.Text),
		)
	})
	return slices.Compact(list)
}
