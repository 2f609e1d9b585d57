package main

import (
	"fmt"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// troubleWords says which probes of a session fail, and what follows.
func troubleWords(s *gulmv1.Session) []string {
	var out []string
	for _, t := range s.GetTroubles() {
		text := fmt.Sprintf("probe failing: %s: %s, since %s; ", tool.Line(t.GetProbe()), tool.Line(t.GetError()), tool.Stamp(t.GetSinceMs()))
		switch {
		case t.GetStopsInMs() > 0:
			text += "stops beating in " + tool.Ago(t.GetStopsInMs())
		case s.GetAttached():
			text += "stops beating now"
		default:
			text += "has stopped beating"
		}
		out = append(out, text)
	}
	return out
}

func troublesToJSON(s *gulmv1.Session) []troubleJSON {
	out := []troubleJSON{}
	for _, t := range s.GetTroubles() {
		out = append(out, troubleJSON{t.GetProbe(), t.GetError(), t.GetSinceMs(), t.GetStopsInMs()})
	}
	return out
}
