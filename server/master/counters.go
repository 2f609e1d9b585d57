package master

import (
	"sync/atomic"

	"lock_gulmd/server/state"
)

// counters count what this process has done and seen as master.
type counters struct {
	expired, forced, ended, reboots, trips, resumes, lies, leases atomic.Uint64
}

// Counters returns what this process counted as master since it started, by
// name: nodes expired for their silence and by force, sessions ended alone, lives
// settled by a reboot, pauses and resumptions of fencing, logins refused
// because a fence was no fence, and times that leases of a dead node ended.
func (m *Master) Counters() map[string]uint64 {
	c := &m.counters
	return map[string]uint64{
		"nodes_expired": c.expired.Load(), "nodes_force_expired": c.forced.Load(), "sessions_ended": c.ended.Load(),
		"reboots_proved": c.reboots.Load(), "fencing_pauses": c.trips.Load(), "fencing_resumes": c.resumes.Load(),
		"fence_lies": c.lies.Load(), "leases_ended": c.leases.Load(),
	}
}

// breaker counts a change of the breaker.
func (c *counters) breaker(change state.Command) {
	if _, pause := change.(state.PauseFencing); pause {
		c.trips.Add(1)
	} else {
		c.resumes.Add(1)
	}
}
