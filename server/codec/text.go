package codec

import "strings"

// utf8 replaces what protobuf would refuse in a string: agents and callers may
// say anything.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
