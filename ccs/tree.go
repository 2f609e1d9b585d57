package ccs

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// valueKind tells the types of values apart.
type valueKind int

const (
	kindInt valueKind = iota
	kindFloat
	kindString
	kindArray
)

// String names the kind as errors speak of it.
func (k valueKind) String() string {
	return [...]string{"an integer", "a number with a fraction", "a string", "an array"}[k]
}

// value is what stands behind "=". Values may be secrets: never put one into
// an error text without asking isSecretKey.
type value struct {
	kind valueKind
	// text is a string's value, or a number as it was written.
	text string
	num  int64
	flt  float64
	list []value
	line int
}

// item is one entry of a section: a key with a value, or a nested section.
type item struct {
	key  string
	line int
	val  value
	sec  *section // nil for a value
}

// section is one "name { ... }" with its items in file order, repeated keys
// included. A whole file is a section without a name.
type section struct {
	file  string
	name  string
	line  int
	items []item
}

// sections returns the nested sections of this name, in file order.
func (s *section) sections(name string) []*section {
	var found []*section
	for _, it := range s.items {
		if it.key == name && it.sec != nil {
			found = append(found, it.sec)
		}
	}
	return found
}

// add appends a nested section and returns it.
func (s *section) add(name string) *section {
	sub := &section{file: s.file, name: name}
	s.items = append(s.items, item{key: name, sec: sub})
	return sub
}

// set appends a value.
func (s *section) set(key string, v value) {
	s.items = append(s.items, item{key: key, val: v})
}

func stringValue(s string) value { return value{kind: kindString, text: s} }

func intValue(n int) value {
	return value{kind: kindInt, num: int64(n), text: strconv.Itoa(n)}
}

func floatValue(f float64) value {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return value{kind: kindFloat, flt: f, text: text}
}

// write prints the items of a section so that they parse again.
func (s *section) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	s.writeItems(b, 0)
	return b.Flush()
}

// writeItems leaves write errors to the Flush of its caller, which returns the
// first one.
func (s *section) writeItems(b *bufio.Writer, depth int) {
	indent := strings.Repeat("  ", depth)
	for _, it := range s.items {
		if it.sec == nil {
			fmt.Fprintf(b, "%s%s = %s\n", indent, it.key, it.val)
			continue
		}
		if line, ok := it.sec.oneLine(); ok {
			fmt.Fprintf(b, "%s%s { %s}\n", indent, it.key, line)
			continue
		}
		fmt.Fprintf(b, "%s%s {\n", indent, it.key)
		it.sec.writeItems(b, depth+1)
		fmt.Fprintf(b, "%s}\n", indent)
	}
}

// oneLine renders the items of a small section, such as the use of a fence
// device, with a blank behind each; ok is false if it needs lines of its own.
func (s *section) oneLine() (text string, ok bool) {
	const widest = 60
	for _, it := range s.items {
		if it.sec != nil {
			return "", false
		}
		text += it.key + " = " + it.val.String() + " "
		if len(text) > widest {
			return "", false
		}
	}
	return text, true
}

// String renders the value in the grammar of the files. It shows secrets: the
// tree that is printed must have had them replaced.
func (v value) String() string {
	switch v.kind {
	case kindString:
		return quote(v.text)
	case kindArray:
		parts := make([]string, len(v.list))
		for i, one := range v.list {
			parts[i] = one.String()
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return v.text
	}
}

// quoted holds what quote must write with a backslash.
var quoted = strings.NewReplacer(
	`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\t", `\t`, "\r", `\r`,
)

// quote renders a string in double quotes.
func quote(s string) string { return `"` + quoted.Replace(s) + `"` }
