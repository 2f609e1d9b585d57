package fence

import (
	"bytes"
	"cmp"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Limits of what is kept of an agent's output.
const (
	maxLine      = 1024
	maxTailLines = 8
	maxTailLine  = 256
	mask         = "********"
)

// redactor replaces secret values.
type redactor struct {
	replacer *strings.Replacer
	longest  int
}

// newRedactor returns a redactor for the secret ones among params. Besides the
// value itself its URL encodings are replaced, the form in which agents that
// speak HTTP report it in errors.
func newRedactor(params []Param) *redactor {
	var secrets []string
	for _, p := range params {
		if p.Secret && p.Value != "" {
			secrets = append(secrets, p.Value, url.QueryEscape(p.Value), url.PathEscape(p.Value))
		}
	}
	// Longest first: where one secret begins with another, the Replacer takes
	// the one that comes first among its arguments.
	slices.SortFunc(secrets, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	secrets = slices.Compact(secrets)
	r := &redactor{}
	var pairs []string
	for _, s := range secrets {
		r.longest = max(r.longest, len(s))
		pairs = append(pairs, s, mask)
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r
}

func (r *redactor) redact(s string) string { return r.replacer.Replace(s) }

// sink takes an agent's output. It hands complete lines, redacted and made
// printable, to emit until the cap is reached, keeps the last ones for the
// attempt, and always takes everything at once, so that an agent that shouts is
// never blocked by us. Its memory is bounded whatever the agent writes.
type sink struct {
	redactor *redactor
	emit     func(line string)
	cap      int

	mu      sync.Mutex
	closed  bool
	line    []byte // the line being gathered, at most maxLine+redactor.longest
	cut     bool   // bytes of the line being gathered were dropped
	emitted int    // bytes handed to emit
	dropped int    // bytes of output that emit did not get
	tail    []string
}

func newSink(r *redactor, limit int, emit func(line string)) *sink {
	return &sink{redactor: r, emit: emit, cap: limit}
}

// Write gathers lines. It never fails and keeps nothing of p.
func (s *sink) Write(p []byte) (int, error) {
	n := len(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return n, nil
	}
	for {
		head, rest, ended := bytes.Cut(p, []byte{'\n'})
		s.gather(head)
		if !ended {
			return n, nil
		}
		s.flush()
		p = rest
	}
}

// gather adds to the current line as much as is needed to redact what will be
// shown and to leave out a secret that the end of the buffer cuts in two.
func (s *sink) gather(p []byte) {
	room := maxLine + s.redactor.longest - len(s.line)
	if len(p) > room {
		s.dropped += len(p) - room
		p, s.cut = p[:room], true
	}
	s.line = append(s.line, p...)
}

func (s *sink) flush() {
	line := s.redactor.redact(string(s.line))
	if s.cut {
		// The bytes that were dropped may have been the second half of a secret
		// whose first half is now at the end.
		line = line[:max(len(line)-s.redactor.longest, 0)]
	}
	line, wasCut := shorten(printable(line), maxLine)
	if wasCut || s.cut {
		line += " ..."
	}
	s.line, s.cut = s.line[:0], false
	if line == "" {
		return
	}
	short, wasCut := shorten(line, maxTailLine-4)
	if wasCut {
		short += " ..."
	}
	if len(s.tail) == maxTailLines {
		s.tail = slices.Delete(s.tail, 0, 1)
	}
	s.tail = append(s.tail, short)
	if s.emitted+len(line) > s.cap {
		s.dropped += len(line)
		return
	}
	s.emitted += len(line)
	s.emit(line)
}

// close ends the last line and returns the last lines and how many bytes of
// output were not emitted. Later writes are swallowed.
func (s *sink) close() (tail string, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.flush()
		s.closed = true
	}
	return strings.Join(s.tail, "\n"), s.dropped
}

// printable makes s valid UTF-8 without control characters, which could drive a
// terminal or break a log line. Space at the end goes, so that "\r\n" does too.
func printable(s string) string {
	s = strings.TrimRightFunc(strings.ToValidUTF8(s, "?"), unicode.IsSpace)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// shorten cuts s to at most n bytes without splitting a character.
func shorten(s string, n int) (short string, cut bool) {
	if len(s) <= n {
		return s, false
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

// capped keeps the first bytes of what is written and swallows the rest.
type capped struct {
	bytes.Buffer
	limit int
}

// Write never fails.
func (c *capped) Write(p []byte) (int, error) {
	room := max(c.limit-c.Len(), 0)
	c.Buffer.Write(p[:min(room, len(p))])
	return len(p), nil
}
