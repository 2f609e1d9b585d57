package tool

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// Role returns the word for a server's role.
func Role(r gulmv1.ServerRole) string { return word(r.String(), "SERVER_ROLE_") }

// NodeState returns the words for a node's state, as in "logged in".
func NodeState(s gulmv1.NodeState) string { return word(s.String(), "NODE_STATE_") }

// FenceState returns the word for a fence's state.
func FenceState(s gulmv1.FenceState) string { return word(s.String(), "FENCE_STATE_") }

// Queue returns the word for a queue of a resource.
func Queue(q gulmv1.Queue) string { return word(q.String(), "QUEUE_") }

// JournalState returns the word for a journal's state.
func JournalState(s gulmv1.JournalState) string { return word(s.String(), "JOURNAL_STATE_") }

// MountState returns the word for a mount's state.
func MountState(s gulmv1.MountState) string { return word(s.String(), "MOUNT_STATE_") }

// Policy is "fence", "manual" and so on.
func Policy(p gulmv1.Policy) string { return word(p.String(), "POLICY_") }

// Mode returns the two letters of a lock's mode.
func Mode(m gulmv1.Mode) string { return strings.TrimPrefix(m.String(), "MODE_") }

// word makes words for people of a constant's name; a number that this version
// does not know stays one.
func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", " ")
}

// Key returns words as one lower_snake word for JSON.
func Key(words string) string { return strings.ReplaceAll(words, " ", "_") }

// Bytes returns the name of a resource for people: quoted, whatever is in it.
func Bytes(name []byte) string { return strconv.Quote(string(name)) }

// Clean makes text that came from elsewhere safe for a terminal: what cannot be
// printed is escaped, but for line feeds and tabs.
func Clean(text string) string {
	safe := func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar }
	if strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	var out strings.Builder
	for i, r := range text {
		_, width := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == unicode.ReplacementChar && width == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case safe(r), r == unicode.ReplacementChar:
			out.WriteRune(r)
		default:
			out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return out.String()
}

// Line is Clean on one line, without tabs: fit for the cell of a table. Empty
// text becomes "-".
func Line(text string) string {
	text = strings.Join(strings.Fields(Clean(text)), " ")
	if text == "" {
		return "-"
	}
	return text
}

// Ago shows milliseconds as a person would say them, "-" if they are negative.
func Ago(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case ms < 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// Stamp shows unix milliseconds as UTC, since the servers may be in another time
// zone than the reader; "-" for 0.
func Stamp(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// Count returns "1 lock", "2 locks": a number with its noun.
func Count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatUint(n, 10) + " " + noun + "s"
}

// Table writes rows of cells in aligned columns, each line after indent.
func Table(w io.Writer, indent string, rows [][]string) error {
	var text strings.Builder
	aligned := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(aligned, strings.Join(row, "\t"))
	}
	if err := aligned.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(indent+line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
