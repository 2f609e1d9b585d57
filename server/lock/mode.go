package lock

// Mode is how much a lock claims. The numbers are the DLM's and stand in the
// log.
type Mode uint8

// The six modes, from weak to strong; CW and PR are not ordered between each
// other. GFS calls NL Unlocked, PR Shared, CW Deferred and EX Exclusive.
const (
	NL Mode = iota // null: interest without a claim
	CR             // concurrent read
	CW             // concurrent write
	PR             // protected read
	PW             // protected write
	EX             // exclusive

	modes = 6
)

// modeNames are the DLM's names.
var modeNames = [modes]string{"NL", "CR", "CW", "PR", "PW", "EX"}

// String returns the DLM's name of the mode.
func (m Mode) String() string {
	if m >= modes {
		return "??"
	}
	return modeNames[m]
}

// modeSet has bit 1<<m for each mode m in it.
type modeSet uint8

func (s modeSet) has(m Mode) bool { return s&(1<<m) != 0 }

// conflicts holds, for each mode, the modes that it cannot be held beside: the
// DLM's compatibility matrix, which is symmetric.
var conflicts = [modes]modeSet{
	NL: 0,
	CR: 1 << EX,
	CW: 1<<PR | 1<<PW | 1<<EX,
	PR: 1<<CW | 1<<PW | 1<<EX,
	PW: 1<<CW | 1<<PR | 1<<PW | 1<<EX,
	EX: 1<<CR | 1<<CW | 1<<PR | 1<<PW | 1<<EX,
}

// Compatible reports whether two owners may hold a and b at the same time.
func Compatible(a, b Mode) bool { return !conflicts[a].has(b) }
