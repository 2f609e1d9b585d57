package ccs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of the parser. They are far above any real cluster and keep a wrong
// file (a disk image, say) from using up memory or stack.
const (
	// maxFileSize is the size in bytes above which a file is refused unread.
	maxFileSize = 4 << 20
	// maxDepth is how deep sections may nest; the deepest in use is 5.
	maxDepth = 16
	// maxName is the length in bytes above which a name is refused.
	maxName = 255
	// maxSyntaxFaults is how many syntax faults are reported for one file.
	maxSyntaxFaults = 10
)

// errStop ends the parsing of a file in which reading on makes no sense.
var errStop = errors.New("stop")

// parser builds the tree of one file and collects syntax faults.
type parser struct {
	file   string
	lex    lexer
	tok    token
	faults []Fault
	// secret is set while the value of a key that holds a secret is parsed;
	// secretEnd is the last line that may hold a part of the last one. Faults
	// up to there quote nothing of what they found.
	secret    bool
	secretEnd int
	lastLine  int // line of the token before tok
}

// parseFile parses one file. If faults come back, the section is incomplete
// and must not be used for anything but further checks of syntax.
func parseFile(file string, data []byte) (*section, []Fault) {
	p := &parser{file: file}
	root := &section{file: file}
	if len(data) > maxFileSize {
		p.fault(0, fmt.Sprintf("the file has %d bytes, more than %d", len(data), maxFileSize),
			"check that it is a configuration file")
		return root, p.faults
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	p.lex = lexer{data: text, line: 1}
	p.advance()
	if p.tok.kind == tokEOF {
		p.fault(0, "the file is empty", fmt.Sprintf("begin it with %s { ... }", topSection[file]))
		return root, p.faults
	}
	// Behind another fault a bracket too many or too few is mostly its echo.
	err := p.items(root, 0)
	if err == nil && p.tok.kind == tokClose && len(p.faults) == 0 {
		p.fault(p.tok.line, `a "}" closes nothing`, "remove it, or look for a missing { above")
	}
	return root, p.faults
}

func (p *parser) advance() {
	p.lastLine = p.tok.line
	p.tok = p.lex.next()
}

// hide tells whether the current token may be a part of a secret.
func (p *parser) hide() bool { return p.secret || p.tok.line <= p.secretEnd }

// fault records a syntax fault, but only the first one of each line: the rest
// of a broken line mostly breaks because of its beginning.
func (p *parser) fault(line int, text, cure string) {
	if n := len(p.faults); n > 0 && p.faults[n-1].Line == line && line > 0 {
		return
	}
	p.faults = append(p.faults, Fault{File: p.file, Line: line, Text: text, Cure: cure})
}

// found names the current token for an error text, without its content where
// that may be a part of a secret.
func (p *parser) found() string {
	switch p.tok.kind {
	case tokEOF:
		return "the end of the file"
	case tokString:
		return "a string"
	}
	if p.hide() {
		return "something else"
	}
	if p.tok.kind == tokBad {
		return "the character " + p.tok.text
	}
	return strconv.Quote(p.tok.text)
}

// items parses the items of a section up to its end, which is left for the
// caller: "}" or the end of the file.
func (p *parser) items(s *section, depth int) error {
	for p.tok.kind != tokEOF && p.tok.kind != tokClose {
		if len(p.faults) >= maxSyntaxFaults {
			return errStop
		}
		if err := p.item(s, depth); err != nil {
			return err
		}
	}
	return nil
}

// item parses "key = value" or "name { items }".
func (p *parser) item(s *section, depth int) error {
	key := p.tok
	if key.kind != tokWord || !isIdent(key.text) {
		text := "expected the name of a key or section, found " + p.found()
		p.fault(key.line, text, "write: name = value, or: name { ... }")
		return p.skipLine(key.line)
	}
	if len(key.text) > maxName {
		p.fault(key.line, fmt.Sprintf("a name has %d characters, more than %d", len(key.text), maxName), "shorten it")
		return p.skipLine(key.line)
	}
	name := strconv.Quote(key.text)
	if p.hide() {
		name = "this name"
	}
	p.advance()
	if p.tok.kind == tokOpen {
		return p.section(s, key, depth)
	}
	p.secret = isSecretKey(key.text)
	defer func() {
		if p.secret {
			p.secret, p.secretEnd = false, max(p.secretEnd, p.lastLine)
		}
	}()
	if p.tok.kind == tokEqual {
		p.advance()
		return p.assignment(s, key)
	}
	p.fault(key.line, fmt.Sprintf("expected = or { after %s, found %s", name, p.found()),
		"write: name = value, or: name { ... }")
	return p.skipLine(key.line)
}

// section parses from the "{" to behind its "}".
func (p *parser) section(s *section, key token, depth int) error {
	if depth+1 > maxDepth {
		p.fault(key.line, fmt.Sprintf("sections nest deeper than %d", maxDepth), "close some of them with }")
		return errStop
	}
	sub := &section{file: p.file, name: key.text, line: key.line}
	s.items = append(s.items, item{key: key.text, line: key.line, sec: sub})
	p.advance()
	if err := p.items(sub, depth+1); err != nil {
		return err
	}
	if p.tok.kind == tokEOF {
		if len(p.faults) == 0 {
			p.fault(key.line, fmt.Sprintf("the section %q that begins here is never closed", key.text), "add the missing }")
		}
		return errStop
	}
	p.advance()
	return nil
}

// assignment parses what stands behind "key =".
func (p *parser) assignment(s *section, key token) error {
	line := p.tok.line
	switch p.tok.kind {
	case tokWord, tokString:
		v := p.scalar()
		s.items = append(s.items, item{key: key.text, line: key.line, val: v})
		return nil
	case tokArray:
		list, err := p.array(key)
		if err != nil {
			return err
		}
		v := value{kind: kindArray, list: list, line: line}
		s.items = append(s.items, item{key: key.text, line: key.line, val: v})
		return nil
	case tokOpen:
		p.fault(key.line, fmt.Sprintf("%q is followed by = and {", key.text),
			"remove the = if it is a section, or write arrays as [ ... ]")
		return errStop
	}
	p.fault(key.line, fmt.Sprintf("%q has no value, found %s", key.text, p.found()),
		`write a number, a "string" or an [array]`)
	return p.skipLine(line)
}

// array parses from "[" to behind "]". Commas between values may be left out.
func (p *parser) array(key token) ([]value, error) {
	var list []value
	p.advance()
	for comma := true; ; {
		switch p.tok.kind {
		case tokArrayEnd:
			p.advance()
			return list, nil
		case tokWord, tokString:
			list = append(list, p.scalar())
			comma = false
		case tokComma:
			if comma {
				p.fault(p.tok.line, "a comma stands where a value is expected", "remove it")
			}
			comma = true
			p.advance()
		case tokArray:
			p.fault(p.tok.line, "an array holds an array", "write one flat list of values")
			return nil, errStop
		default:
			text := fmt.Sprintf("the array of %q is not closed, found %s", key.text, p.found())
			p.fault(key.line, text, "end it with ]")
			return nil, errStop
		}
	}
}

// scalar turns the current word or string into a value and steps behind it.
// What is wrong with it becomes a fault; parsing goes on.
func (p *parser) scalar() value {
	t := p.tok
	defer p.advance()
	if t.kind == tokString {
		if t.wrong != "" {
			p.fault(t.line, t.wrong, t.cure)
			if p.secret {
				p.secretEnd = t.line + 1 // a string that is not closed may go on there
			}
		}
		return value{kind: kindString, text: t.text, line: t.line}
	}
	v, wrong, cure := parseNumber(t.text)
	v.line = t.line
	if wrong == "" {
		return v
	}
	if p.hide() {
		p.fault(t.line, "the value is neither a number nor in quotes", `put it in 'single quotes'`)
		return v
	}
	p.fault(t.line, fmt.Sprintf("%s %s", t.text, wrong), cure)
	return v
}

// parseNumber reads an integer in decimal, hexadecimal (0x) or octal (0), or a
// float. For everything else it says what is wrong and how to cure it.
func parseNumber(word string) (v value, wrong, cure string) {
	digits := strings.TrimPrefix(word, "-")
	inQuotes := fmt.Sprintf("put it in quotes: %q", word)
	if digits == "" || !(digits[0] == '.' || digits[0] >= '0' && digits[0] <= '9') {
		return value{}, "is a bare word", inQuotes
	}
	hex := len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X")
	number := "0123456789.eE+-"
	if hex {
		number = "0123456789abcdefABCDEFxX"
	}
	if strings.Trim(digits, number) != "" {
		return value{}, "is neither a number nor in quotes", inQuotes
	}
	if hex || !strings.ContainsAny(digits, ".eE") {
		n, err := strconv.ParseInt(word, 0, 64)
		if err == nil {
			return value{kind: kindInt, num: n, text: word}, "", ""
		}
		if errors.Is(err, strconv.ErrRange) {
			return value{}, "is too large a number", "write a smaller one, or put it in quotes"
		}
		if digits[0] == '0' && !hex && strings.Trim(digits, "0123456789") == "" {
			return value{}, "begins with 0, which means octal, but has the digit 8 or 9", "remove the 0, or put it in quotes"
		}
		return value{}, "is neither a number nor in quotes", inQuotes
	}
	f, err := strconv.ParseFloat(word, 64)
	if errors.Is(err, strconv.ErrRange) {
		return value{}, "is too large a number", "write a smaller one, or put it in quotes"
	}
	if err != nil {
		return value{}, "is neither a number nor in quotes", inQuotes
	}
	return value{kind: kindFloat, flt: f, text: word}, "", ""
}

// skipLine passes the rest of a broken line. It stops the parsing if that
// would pass a bracket, since every later fault would be a false one.
func (p *parser) skipLine(line int) error {
	for p.tok.line == line {
		switch p.tok.kind {
		case tokOpen, tokArray, tokArrayEnd:
			return errStop
		case tokClose, tokEOF:
			return nil
		}
		p.advance()
	}
	return nil
}
