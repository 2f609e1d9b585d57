// Package journal is the pure part that knows mounts and journals: which node
// has which journal of a file system mounted, who mounts first, whose journal
// must be replayed before its locks are released, and who replays it. Like
// packages lock and member it has no clock, no goroutine and no I/O; stamps are
// kept for display and decide nothing.
//
// A lockspace has journals from the first Mount until nobody mounts it and no
// journal is dirty.
//
// # The only legal moves of a journal
//
//	free --mount--> mounted --unmount--> free
//	mounted --its node is fenced, its process ends, or it withdraws--> dirty
//	dirty --handed to a mounter--> being recovered --done--> free
//	being recovered --failed; or the mounter goes--> dirty
//	dirty --mounted by the first mounter, who says: all replayed--> mounted
//	dirty --the first mounter says: all replayed--> free
//
// A mounter "goes" when it unmounts, withdraws or logs out, or when the fence of
// its node is proved: one that is declared dead and not fenced may still be
// writing into the journal that it recovers, so nobody else gets that journal.
//
// # The only legal moves of a mount
//
//	waiting --> first --all replayed--> mounted
//	waiting --> mounted
//
// and each of them ends with an unmount, a withdrawal, a logout, or the fence of
// its node. Whoever waits becomes first when nobody alive has the file system
// mounted and no journal belongs to a node whose fence is not proved: only then
// may all journals be replayed. Others wait until the first mounter has said that
// they are. Spectators mount without a journal, read-only; they are never first
// and recover nothing.
//
// # Who gets a dirty journal
//
// Exactly one of the live mounters: the one with the fewest recoveries at hand,
// the earliest of those. One that failed to replay a journal does not get it
// again. If nobody is left, the journal stays dirty and the next first mounter
// replays it.
package journal
