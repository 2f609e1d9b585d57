package rpc

import (
	"strings"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/master"
)

// What is kept of the probes of one session, at most: a node that says more is cut
// short.
const (
	maxTroubles    = 8
	maxTroubleName = 64
	maxTroubleText = 256
)

// troublesFromWire returns what a beat says of the probes that fail.
func troublesFromWire(in []*gulmv1.ProbeTrouble, now time.Time) []master.Trouble {
	var out []master.Trouble
	for _, t := range in[:min(len(in), maxTroubles)] {
		out = append(out, master.Trouble{
			Probe: clipText(t.GetProbe(), maxTroubleName), Text: clipText(t.GetError(), maxTroubleText),
			Since: now.Add(-millis(t.GetFailingMs())), Stops: now.Add(millis(t.GetStopsInMs())),
		})
	}
	return out
}

// troublesToWire shows them to people.
func troublesToWire(in []master.Trouble, now time.Time) []*gulmv1.ProbeTrouble {
	var out []*gulmv1.ProbeTrouble
	for _, t := range in {
		out = append(out, &gulmv1.ProbeTrouble{
			Probe: t.Probe, Error: t.Text, FailingMs: now.Sub(t.Since).Milliseconds(), StopsInMs: max(0, t.Stops.Sub(now).Milliseconds()),
			SinceMs: t.Since.UnixMilli(),
		})
	}
	return out
}

// maxMillis is what a node may say of a time, a year.
const maxMillis = int64(365 * 24 * time.Hour / time.Millisecond)

func millis(n int64) time.Duration {
	return time.Duration(min(max(n, 0), maxMillis)) * time.Millisecond
}

// clipText cuts a text to limit bytes, not within a character.
func clipText(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
