package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"lock_gulmd/cmd/internal/tool"
)

// whyNot says in a few words why a server has no answer in a table.
func whyNot(err error) string {
	var lost *tool.Unreachable
	if errors.As(err, &lost) {
		return "unreachable: " + tool.Line(lost.Why.Error())
	}
	return "no status: " + tool.Line(err.Error())
}

func hexDigest(d uint64) string { return fmt.Sprintf("%016x", d) }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
