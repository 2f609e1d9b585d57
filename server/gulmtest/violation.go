package gulmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	// maxHistory is how many events of a resource a story can tell.
	maxHistory = 32
	// maxViolations bounds what is kept of a run that goes wrong all the time.
	maxViolations = 100
)

// Kind says which rule was broken.
type Kind string

// The kinds of violations.
const (
	// HoldersOverlap: two incompatible locks were held at once.
	HoldersOverlap Kind = "incompatible holders"
	// WriteOverlap: a write and an incompatible holder or write at once.
	WriteOverlap Kind = "overlapping write"
	// GrantBeforeFence: a lock of a dead node was granted to another before
	// anybody had proved that the node is dead.
	GrantBeforeFence Kind = "grant before fence"
	// WriteAfterFence: a node wrote whose fence was said to have succeeded.
	WriteAfterFence Kind = "write after fence"
	// WriteWithoutLock: a write without a lock that allows it, or with another
	// mode or token than the lock has.
	WriteWithoutLock Kind = "write without lock"
	// TokenBackwards: an exclusive holder with a token no newer than that of the
	// one before it.
	TokenBackwards Kind = "token went backwards"
	// LostIncrement: a read-modify-write was undone by another.
	LostIncrement Kind = "lost increment"
	// GrantBeforeReplay: a lock was granted, or a journal mounted, although a record
	// of a dead or departed life was not replayed.
	GrantBeforeReplay Kind = "grant before replay"
	// JournalShared: two lives that may both be writing used one journal.
	JournalShared Kind = "journal shared"
	// ReplayedAgain: somebody was asked to replay what the servers knew was replayed.
	ReplayedAgain Kind = "replayed again"
)

// Violation is one broken rule.
type Violation struct {
	Kind Kind
	// At is the time since the disk was made.
	At       time.Duration
	Resource string
	// Who did it, and Other with whom it collided; the zero Holder if nobody.
	Who, Other Holder
	// What says in one sentence what happened.
	What string
	// Story is what was known of the resource by then, one event per line, the
	// newest last.
	Story string
}

// String returns all of it in several lines.
func (v Violation) String() string {
	return fmt.Sprintf("%s on %q at %v: %s\n%s", v.Kind, v.Resource, v.At, v.What, v.Story)
}

// event is a line of a story.
type event struct {
	at   time.Time
	who  Holder
	what string
}

// Violations returns what was flagged so far, in order; at most 100 are kept.
func (d *Disk) Violations() []Violation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Violation(nil), d.violations...)
}

// Check reports every violation as an error of the test.
func (d *Disk) Check(t testing.TB) {
	t.Helper()
	for _, v := range d.Violations() {
		t.Errorf("%v", v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dropped > 0 {
		t.Errorf("and %d violations more", d.dropped)
	}
}

// flag records a violation. The caller holds mu, as everywhere below.
func (d *Disk) flag(kind Kind, b *block, who, other Holder, format string, args ...any) {
	if len(d.violations) >= maxViolations {
		d.dropped++
		return
	}
	d.violations = append(d.violations, Violation{
		Kind:     kind,
		At:       time.Since(d.start),
		Resource: b.resource,
		Who:      who,
		Other:    other,
		What:     fmt.Sprintf(format, args...),
		Story:    d.story(b),
	})
}

func (d *Disk) story(b *block) string {
	var s strings.Builder
	for _, e := range b.history {
		fmt.Fprintf(&s, "  %12v  %v %s\n", e.at.Sub(d.start), e.who, e.what)
	}
	return s.String()
}

// note adds a line to the story of a resource.
func (b *block) note(who Holder, format string, args ...any) {
	if len(b.history) == maxHistory {
		b.history = append(b.history[:0], b.history[1:]...)
	}
	b.history = append(b.history, event{at: time.Now(), who: who, what: fmt.Sprintf(format, args...)})
}

// noteAll adds a line to the story of every resource.
func (d *Disk) noteAll(who Holder, format string, args ...any) {
	for _, b := range d.blocks {
		b.note(who, format, args...)
	}
}
