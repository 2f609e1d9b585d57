package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// printRanges shows files with byte ranges, and what each request waits for.
func printRanges(w io.Writer, files []*gulmv1.RangeFile) error {
	for _, f := range files {
		kind := "ranges"
		if f.GetFlock() {
			kind = "flock"
		}
		if f.GetGulm() {
			kind = "gulm"
		}
		fmt.Fprintf(w, "%s %s (%s)%s\n", tool.Line(f.GetLockspace()), tool.Bytes(f.GetName()), kind, policyWords(f))
		rows := [][]string{{"OWNER", "RANGE", "KIND", "STATE", "AGE", "TOKEN", "NOTE"}}
		for _, r := range f.GetRanges() {
			rows = append(rows, []string{
				rangeOwner(r.GetNode(), r.GetSession(), r.GetOwner()), offsets(r.GetStart(), r.GetEnd()), rangeKind(r.GetMode()),
				rangeState(r), tool.Ago(r.GetAgeMs()), rangeToken(r), strings.Join(rangeNotes(r), "; "),
			})
		}
		if f.GetTruncated() {
			rows = append(rows, []string{"...", "", "", "", "", "", "there are more"})
		}
		if err := tool.Table(w, "  ", rows); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// rangeOwner names who holds ranges: the number is the session's own.
func rangeOwner(node string, session, owner uint64) string {
	return fmt.Sprintf("%s/%d/%d", tool.Line(node), session, owner)
}

// offsets shows a range; one to infinity has no last offset.
func offsets(start, end uint64) string {
	if end >= math.MaxInt64 {
		return strconv.FormatUint(start, 10) + "-"
	}
	return fmt.Sprintf("%d-%d", start, end)
}

func rangeKind(m gulmv1.Mode) string {
	if m == gulmv1.Mode_MODE_PR {
		return "read"
	}
	return "write"
}

func rangeState(r *gulmv1.RangeLock) string {
	if r.GetWaiting() {
		return "waiting"
	}
	return "held"
}

func rangeToken(r *gulmv1.RangeLock) string {
	if r.GetWaiting() {
		return "-"
	}
	return strconv.FormatUint(r.GetToken(), 10)
}

// rangeNotes says what a request waits for, and whether a range is frozen.
func rangeNotes(r *gulmv1.RangeLock) []string {
	var out, by, behind []string
	switch {
	case r.GetHeldFor() != "":
		out = append(out, "frozen for "+tool.Line(r.GetHeldFor()))
	case r.GetFrozen():
		out = append(out, "frozen until "+tool.Line(r.GetNode())+" is fenced or recovered")
	}
	for _, b := range r.GetBlockers() {
		text := fmt.Sprintf("%s (%s %s", rangeOwner(b.GetNode(), b.GetSession(), b.GetOwner()), offsets(b.GetStart(), b.GetEnd()), rangeKind(b.GetMode()))
		if b.GetFrozen() {
			text += ", frozen"
		}
		if text += ")"; b.GetWaiting() {
			behind = append(behind, text)
		} else {
			by = append(by, text)
		}
	}
	if len(by) > 0 {
		out = append(out, "blocked by "+strings.Join(by, ", "))
	}
	if len(behind) > 0 {
		out = append(out, "behind "+strings.Join(behind, ", "))
	}
	if r.GetMoreBlockers() {
		out = append(out, "and others")
	}
	return out
}

// rangeFileJSON is one file with byte ranges; its name is bytes.
type rangeFileJSON struct {
	Lockspace string      `json:"lockspace"`
	Name      string      `json:"name"`
	NameHex   string      `json:"name_hex"`
	Flock     bool        `json:"flock"`
	Gulm      bool        `json:"gulm"`
	Ranges    []rangeJSON `json:"ranges"`
	Truncated bool        `json:"truncated"`
	policyJSON
}

// rangeJSON is one range. BlockedBy is what a waiting one waits for, of which the
// last may be left out (MoreBlockers). Offsets are text: JSON numbers do not hold
// 63 bits.
type rangeJSON struct {
	Owner        string      `json:"owner"`
	Start        string      `json:"start"`
	End          string      `json:"end"`
	Kind         string      `json:"kind"`
	State        string      `json:"state"`
	Token        uint64      `json:"token"`
	AgeMs        int64       `json:"age_ms"`
	Frozen       bool        `json:"frozen"`
	HeldFor      string      `json:"held_for"`
	BlockedBy    []rangeJSON `json:"blocked_by"`
	MoreBlockers bool        `json:"more_blockers"`
	// Lock is the number of the request, 0 for a range that is held.
	Lock      uint64 `json:"lock"`
	TimeoutMs uint32 `json:"timeout_ms"`
}

func rangesToJSON(files []*gulmv1.RangeFile) []rangeFileJSON {
	out := []rangeFileJSON{}
	for _, f := range files {
		x := rangeFileJSON{
			f.GetLockspace(), tool.Bytes(f.GetName()), hex.EncodeToString(f.GetName()), f.GetFlock(), f.GetGulm(), []rangeJSON{}, f.GetTruncated(), policyToJSON(f),
		}
		for _, r := range f.GetRanges() {
			y := rangeJSON{
				Owner: rangeOwner(r.GetNode(), r.GetSession(), r.GetOwner()), Start: strconv.FormatUint(r.GetStart(), 10),
				End: strconv.FormatUint(r.GetEnd(), 10), Kind: rangeKind(r.GetMode()), State: rangeState(r), Token: r.GetToken(),
				AgeMs: r.GetAgeMs(), Frozen: r.GetFrozen(), HeldFor: r.GetHeldFor(), BlockedBy: []rangeJSON{}, MoreBlockers: r.GetMoreBlockers(),
				Lock: r.GetLock(), TimeoutMs: r.GetTimeoutMs(),
			}
			for _, b := range r.GetBlockers() {
				state := &gulmv1.RangeLock{Waiting: b.GetWaiting()}
				y.BlockedBy = append(y.BlockedBy, rangeJSON{
					Owner: rangeOwner(b.GetNode(), b.GetSession(), b.GetOwner()), Start: strconv.FormatUint(b.GetStart(), 10),
					End: strconv.FormatUint(b.GetEnd(), 10), Kind: rangeKind(b.GetMode()), State: rangeState(state),
					Frozen: b.GetFrozen(), BlockedBy: []rangeJSON{},
				})
			}
			x.Ranges = append(x.Ranges, y)
		}
		out = append(out, x)
	}
	return out
}
