package ccs

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenKind tells tokens apart; punctuation is its own kind.
type tokenKind int

const (
	tokEOF tokenKind = iota
	tokWord
	tokString
	tokOpen     // {
	tokClose    // }
	tokArray    // [
	tokArrayEnd // ]
	tokEqual    // =
	tokComma    // ,
	tokBad      // something that no token begins with
)

// token is one token with the line that it begins on.
type token struct {
	kind tokenKind
	// text is a word as written, the value of a string, or the bad character.
	text string
	line int
	// wrong says what is wrong with a string, cure what to do; text is then
	// whatever could be read.
	wrong, cure string
}

// lexer cuts a file into tokens. It cannot fail: what is no token becomes
// tokBad or a token with wrong set, and the parser reports it.
type lexer struct {
	data string
	pos  int
	line int
}

var punctuation = map[byte]tokenKind{
	'{': tokOpen, '}': tokClose, '[': tokArray, ']': tokArrayEnd, '=': tokEqual, ',': tokComma,
}

// next returns the next token; at the end it returns tokEOF for ever.
func (x *lexer) next() token {
	x.skipSpace()
	if x.pos >= len(x.data) {
		return token{kind: tokEOF, line: x.line}
	}
	c := x.data[x.pos]
	if kind, ok := punctuation[c]; ok {
		x.pos++
		return token{kind: kind, text: string(c), line: x.line}
	}
	switch {
	case c == '"':
		return x.doubleQuoted()
	case c == '\'':
		return x.singleQuoted()
	case isWordByte(c):
		start := x.pos
		for x.pos < len(x.data) && isWordByte(x.data[x.pos]) {
			x.pos++
		}
		return token{kind: tokWord, text: x.data[start:x.pos], line: x.line}
	}
	r, size := utf8.DecodeRuneInString(x.data[x.pos:])
	x.pos += size
	return token{kind: tokBad, text: fmt.Sprintf("%q", r), line: x.line}
}

// skipSpace passes white space and comments and counts lines.
func (x *lexer) skipSpace() {
	for x.pos < len(x.data) {
		switch x.data[x.pos] {
		case '\n':
			x.line++
		case ' ', '\t', '\r', '\f', '\v':
		case '#':
			end := strings.IndexByte(x.data[x.pos:], '\n')
			if end < 0 {
				x.pos = len(x.data)
				return
			}
			x.pos += end
			continue
		default:
			return
		}
		x.pos++
	}
}

// isWordByte tells what identifiers and numbers are made of. The plus sign is
// for exponents only; no identifier may hold it.
func isWordByte(c byte) bool {
	return isIdentByte(c) || c == '+'
}

func isIdentByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '_' || c == '$' || c == '-' || c == '.'
}

// isIdent tells whether a word may name a key or a section.
func isIdent(s string) bool {
	for i := range len(s) {
		if !isIdentByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// escapes are the characters that may follow a backslash in a double-quoted
// string, and what they stand for.
var escapes = map[byte]byte{
	'n': '\n', 't': '\t', 'r': '\r', '\\': '\\', '"': '"', '\'': '\'', '$': '$',
}

// doubleQuoted reads a string with escapes up to its closing quote, or up to
// the end of the line if there is none.
func (x *lexer) doubleQuoted() token {
	t := token{kind: tokString, line: x.line}
	var b strings.Builder
	for x.pos++; ; x.pos++ {
		if x.pos >= len(x.data) || x.data[x.pos] == '\n' {
			t.blame("the string is not closed on its line", `end it with "`)
			break
		}
		c := x.data[x.pos]
		if c == '"' {
			x.pos++
			break
		}
		switch c {
		case '$':
			t.blame(`"$" is reserved in a double-quoted string`, `write \$ or use 'single quotes'`)
		case '\\':
			c = x.escape(&t)
		}
		b.WriteByte(c)
	}
	t.text = b.String()
	t.checkText()
	return t
}

// escape reads what follows a backslash; pos stays on the last byte used.
func (x *lexer) escape(t *token) byte {
	if x.pos+1 >= len(x.data) || x.data[x.pos+1] == '\n' {
		return '\\' // the caller sees the missing quote next
	}
	x.pos++
	c, ok := escapes[x.data[x.pos]]
	if !ok {
		t.blame("the string holds a backslash that begins no known escape",
			`write \\ for a backslash, or use 'single quotes', where it has no meaning`)
		return x.data[x.pos]
	}
	return c
}

// singleQuoted reads a raw string: everything up to the next single quote.
func (x *lexer) singleQuoted() token {
	t := token{kind: tokString, line: x.line}
	start := x.pos + 1
	end := strings.IndexAny(x.data[start:], "'\n")
	switch {
	case end < 0:
		t.text, x.pos = x.data[start:], len(x.data)
		t.blame("the string is not closed on its line", "end it with '")
	case x.data[start+end] == '\n':
		t.text, x.pos = x.data[start:start+end], start+end
		t.blame("the string is not closed on its line", "end it with '")
	default:
		t.text, x.pos = x.data[start:start+end], start+end+1
	}
	t.checkText()
	return t
}

// blame records the first thing that is wrong with a token.
func (t *token) blame(wrong, cure string) {
	if t.wrong == "" {
		t.wrong, t.cure = wrong, cure
	}
}

// checkText refuses what no agent and no terminal could take: bytes that are
// not UTF-8, and control characters but tab and the two line ends.
func (t *token) checkText() {
	if !utf8.ValidString(t.text) {
		t.blame("the string is not valid UTF-8", "save the file as UTF-8")
		return
	}
	for _, r := range t.text {
		if (r < ' ' && r != '\n' && r != '\t' && r != '\r') || r == 0x7f {
			t.blame("the string holds a control character", "remove it")
			return
		}
	}
}
