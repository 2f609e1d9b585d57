package client

import (
	"strconv"

	"lock_gulmd/proto/gulmerr"
)

// inTheWay returns the earlier life of this node that the servers named when they
// refused a login, 0 if they named none. The next login says that it is gone:
// this process runs on the machine that the life was on, booted since. Only who
// was refused by the present life can know its number, so an old message cannot
// say so.
func inTheWay(err error) uint64 {
	n, parse := strconv.ParseUint(gulmerr.Meta(gulmerr.FromStatus(err), gulmerr.MetaIncarnation), 10, 64)
	if parse != nil {
		return 0
	}
	return n
}
