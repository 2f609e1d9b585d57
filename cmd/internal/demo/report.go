package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// report collects the story: told as it goes, or as JSON at the end.
type report struct {
	// Timeline is in order of time.
	Timeline []entry `json:"timeline"`
	// Promises say what was checked and whether it held.
	Promises []promise `json:"promises"`
	// Disk is what the check of the shared file found.
	Disk verdict `json:"disk"`
	// Lease is the same for the lease-style lock, with --show-lease.
	Lease *verdict `json:"lease,omitempty"`
	// Seconds is how long everything took.
	Seconds float64 `json:"seconds"`
	// Error says what went wrong, if anything did.
	Error string `json:"error,omitempty"`

	began  time.Time
	out    io.Writer // nil while JSON was asked for
	fences int
}

type entry struct {
	// Ms is the time since the demo began, milliseconds.
	Ms   int64  `json:"ms"`
	What string `json:"what"`
	Text string `json:"text"`
}

type promise struct {
	Kept bool   `json:"kept"`
	Text string `json:"text"`
}

// note tells what happens now.
func (r *report) note(what, format string, args ...any) {
	r.noteAt(time.Now().UnixMilli(), what, format, args...)
}

// noteAt tells what happened at a time, unix milliseconds.
func (r *report) noteAt(at int64, what, format string, args ...any) {
	e := entry{at - r.began.UnixMilli(), what, fmt.Sprintf(format, args...)}
	r.Timeline = append(r.Timeline, e)
	if r.out != nil {
		fmt.Fprintf(r.out, "%7.3f s  %-8s  %s\n", float64(e.Ms)/1000, e.What, e.Text)
	}
}

// promise records whether something that must hold did.
func (r *report) promise(kept bool, format string, args ...any) {
	p := promise{kept, fmt.Sprintf(format, args...)}
	r.Promises = append(r.Promises, p)
	if r.out != nil {
		word := "kept"
		if !kept {
			word = "BROKEN"
		}
		fmt.Fprintf(r.out, "           %-8s  %s\n", word, p.Text)
	}
}

// kept reports whether every promise held, and there were any.
func (r *report) kept() bool {
	return len(r.Promises) > 0 && !slices.ContainsFunc(r.Promises, func(p promise) bool { return !p.Kept })
}

// finish prints the end.
func (r *report) finish(w io.Writer) error {
	r.Seconds = time.Since(r.began).Seconds()
	slices.SortStableFunc(r.Timeline, func(a, b entry) int { return int(a.Ms - b.Ms) })
	if r.out == nil {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	if r.Error != "" {
		_, err := fmt.Fprintf(w, "\nThe demo failed: %s\n", r.Error)
		return err
	}
	fmt.Fprintf(w, "\n%d records, %d unprotected, %d fences, each proved before the grant; %.1f s\n",
		r.Disk.Records, r.Disk.Unprotected, r.fences, r.Seconds)
	if r.Lease != nil {
		fmt.Fprintf(w, "with a lease instead of a fence: %d records, %d unprotected\n", r.Lease.Records, r.Lease.Unprotected)
	}
	if !r.kept() {
		_, err := fmt.Fprintln(w, "A PROMISE WAS BROKEN")
		return err
	}
	return nil
}
