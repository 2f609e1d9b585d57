// Package ccs reads the cluster configuration: the three files cluster.ccs,
// nodes.ccs and fence.ccs that every lock server and every tool has in one
// folder, /etc/gulm unless told otherwise.
//
// [Load] parses the files, fills in defaults and checks them against each
// other. It either returns a [Config] that holds no contradiction or a [*Faults]
// that lists every fault at once, each with file, line and cure. Values of
// secrets (passwords of fence devices) never appear in a fault, in
// [Config.Print], in [Config.Settings] or in any fmt verb.
//
// A Config is never changed after Load; all its methods may be called from
// several goroutines. DESIGN.md holds the grammar and the decisions.
package ccs
