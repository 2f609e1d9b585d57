package ccs

import (
	"path"
	"strings"
)

// noReboot are the agents that cut a node off its storage but leave it running.
// With several lock servers that is not enough: the lock_gulmd or the sessions
// of the old life go on speaking, so such clusters need a method that ends in
// a reboot or in darkness.
var noReboot = map[string]string{
	"fence_scsi":      "removes SCSI reservations",
	"fence_mpath":     "removes SCSI reservations",
	"fence_brocade":   "closes a port of a Fibre Channel switch",
	"fence_mcdata":    "closes a port of a Fibre Channel switch",
	"fence_vixel":     "closes a port of a Fibre Channel switch",
	"fence_sanbox2":   "closes a port of a Fibre Channel switch",
	"fence_cisco_mds": "closes a port of a Fibre Channel switch",
	"fence_ifmib":     "closes a network port",
	"fence_gnbd":      "revokes the export of a network block device",
	"fence_compute":   "marks a host as down in its cloud",
}

// noFence are agents that stop nothing by themselves; they may only stand in a
// method beside one that does.
var noFence = map[string]string{
	"fence_heuristics_ping": "only asks whether a fence may be tried",
	"fence_evacuate":        "only moves virtual machines away",
}

// watchdogAgent waits until the node's own watchdog must have fired. It is told
// the expiry time of this configuration, see [Config.FencePlan].
const watchdogAgent = "fence_watchdog"

// rebootsByDefault tells whether an agent that is asked for no action reboots.
// All power agents do; a human and a crash dump are no power switches.
func rebootsByDefault(agent string) bool {
	switch agent {
	case "fence_manual", "fence_kdump":
		return false
	}
	return noFence[agent] == "" && noReboot[agent] == ""
}

// noFenceActions are actions of agents that look but do not touch.
var noFenceActions = map[string]bool{
	"status": true, "monitor": true, "list": true, "list_status": true,
	"metadata": true, "meta_data": true, "manpage": true,
	"validate_all": true, "validate": true, "diag": true, "test": true,
}

// onActions bring a node back; they end a method but stop nothing.
var onActions = map[string]bool{"on": true, "enable": true, "unfence": true}

// agentName reduces an agent to the name of the tables: no folder, no suffix.
func agentName(agent string) string {
	return strings.TrimSuffix(path.Base(agent), ".py")
}

// actionOf returns the action that the merged parameters ask for, in the
// spelling of the tables; empty if they leave it to the agent.
func actionOf(params []Param) string {
	for _, p := range params {
		if sameKey(p.Key) == "action" && !p.Hidden {
			return foldKey(strings.TrimSpace(p.Value))
		}
	}
	return ""
}
