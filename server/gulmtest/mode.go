package gulmtest

import "strconv"

// Mode is a lock mode, numbered as DLM does. The table of compatibility is a
// second one on purpose: an oracle that asked the lock engine could not find
// its faults.
type Mode uint8

// The six modes.
const (
	NL Mode = iota // null: keeps a place, allows everything
	CR             // concurrent read
	CW             // concurrent write
	PR             // protected read
	PW             // protected write
	EX             // exclusive
)

var modeNames = [...]string{NL: "NL", CR: "CR", CW: "CW", PR: "PR", PW: "PW", EX: "EX"}

// compatible has a row per mode and says beside which modes it may be held.
var compatible = [...]map[Mode]bool{
	NL: {NL: true, CR: true, CW: true, PR: true, PW: true, EX: true},
	CR: {NL: true, CR: true, CW: true, PR: true, PW: true},
	CW: {NL: true, CR: true, CW: true},
	PR: {NL: true, CR: true, PR: true},
	PW: {NL: true, CR: true},
	EX: {NL: true},
}

// Compatible says whether two holders may have these modes at once. What is no
// mode is compatible with nothing.
func (m Mode) Compatible(other Mode) bool {
	return int(m) < len(compatible) && compatible[m][other]
}

// Writes says whether a holder in this mode may write: CW, PW and EX.
func (m Mode) Writes() bool { return m == CW || m.Exclusive() }

// Exclusive says whether there is at most one writer while this mode is held:
// PW and EX.
func (m Mode) Exclusive() bool { return m == PW || m == EX }

// String returns the mode's two letters.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return "mode " + strconv.Itoa(int(m))
}
