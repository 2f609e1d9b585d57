package gulmtest

import (
	"fmt"
	"strings"
)

// A file system keeps a journal for each node on the shared disk. Whoever changes
// something under a lock writes a record into his own journal first, and before he
// gives the lock back he writes everything to its place (Flush). A record of a node
// that died is not in its place: until somebody has replayed the journal nobody may
// read what the lock protects. The Disk knows each record.
//
// Actors tell the truth before the servers can act on it: BeginReplay when the
// recovery was handed out, EndReplay, Unmounted and Withdrew before they are sent.

// journalBlock is what the disk knows about one journal.
type journalBlock struct {
	block            // for the story
	owner     string // life that has it mounted, "" for none
	by        Holder // the same
	replays   bool   // somebody replays it
	replayer  Holder
	records   map[string]journalRecord // by resource
	recovered map[string]bool          // lives whose recovery the servers have accepted
	asked     int                      // how often whose replay is under way had asked for a mount; -1: may be mounting
}

type journalRecord struct {
	Holder
	mode Mode
}

// lifeOf names a holder's life.
func lifeOf(h Holder) string { return fmt.Sprintf("%s/%d", h.Node, h.Incarnation) }

func (d *Disk) journal(jid int) *journalBlock {
	for len(d.journals) <= jid {
		d.journals = append(d.journals, &journalBlock{
			block:   block{resource: fmt.Sprintf("journal %d", len(d.journals))},
			records: map[string]journalRecord{}, recovered: map[string]bool{},
		})
	}
	return d.journals[jid]
}

// writing reports whether a life may still be writing, as far as anybody knows.
func (d *Disk) writing(h Holder) bool {
	newest, said := d.reported[h.Node]
	return !d.isDead(h) && (!said || h.Incarnation > newest)
}

// claim flags whoever begins to write into a journal that another may be writing.
func (d *Disk) claim(j *journalBlock, h Holder, does string) {
	me := lifeOf(h)
	if j.owner != "" && j.owner != me && d.writing(j.by) {
		d.flag(JournalShared, &j.block, h, j.by, "%v %s the journal that %v has mounted", h, does, j.by)
	}
	if j.replays && lifeOf(j.replayer) != me && d.writing(j.replayer) {
		d.flag(JournalShared, &j.block, h, j.replayer, "%v %s the journal that %v replays", h, does, j.replayer)
	}
}

// Mounting tells that a life asks for a mount: from now on it may have any journal,
// whether or not it ever learns that.
func (d *Disk) Mounting(h Holder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mounting[lifeOf(h)] = true
	d.asks[lifeOf(h)]++
	for _, j := range d.journals {
		delete(j.recovered, lifeOf(h))
	}
}

// Mounted tells that a life has a journal from now on. It must be clean, unless the
// life is the first mounter, which replays it.
func (d *Disk) Mounted(h Holder, jid int, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	if d.isDead(h) {
		return
	}
	j.note(h, "mounted it, first %v", first)
	d.claim(j, h, "mounted")
	for resource, r := range j.records {
		if !first {
			d.flag(GrantBeforeReplay, &j.block, h, r.Holder, "%v mounted a journal in which %v has a record of %s that was not replayed", h, r.Holder, resource)
		}
	}
	j.owner, j.by = lifeOf(h), h
	delete(d.mounting, j.owner)
}

// Record writes a record about a resource into the holder's journal. It returns
// ErrFenced if its machine is dead.
func (d *Disk) Record(h Holder, jid int, resource string, mode Mode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	if d.isDead(h) {
		return fmt.Errorf("%v, journal %d: %w", h, jid, ErrFenced)
	}
	j.note(h, "wrote a record of %s", resource)
	if newest, ok := d.reported[h.Node]; ok && h.Incarnation <= newest {
		d.flag(WriteAfterFence, &j.block, h, Holder{}, "%v wrote into journal %d after its fence was said to have succeeded", h, jid)
	}
	if j.owner != lifeOf(h) {
		d.flag(JournalShared, &j.block, h, j.by, "%v wrote into journal %d, which %s has", h, jid, j.owner)
	}
	d.claim(j, h, "wrote into")
	j.records[resource] = journalRecord{h, mode}
	return nil
}

// Flush tells that all that the holder has changed on a resource is in its place.
// It returns ErrFenced if its machine is dead.
func (d *Disk) Flush(h Holder, jid int, resource string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	if d.isDead(h) {
		return fmt.Errorf("%v, journal %d: %w", h, jid, ErrFenced)
	}
	if j.records[resource].Holder == h {
		delete(j.records, resource)
		j.note(h, "has flushed %s", resource)
	}
	return nil
}

// Unmounted tells that a life has stopped and has flushed all.
func (d *Disk) Unmounted(h Holder, jid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.journal(jid); !d.isDead(h) && j.owner == lifeOf(h) {
		j.note(h, "unmounted it")
		j.owner = ""
	}
}

// Withdrew tells that a life has stopped using the file system where it stood: its
// records stay, and it does not rely on any lock any more. It reports whether
// another was replaying a journal at that time.
func (d *Disk) Withdrew(h Holder, jid int) (beside bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isDead(h) {
		return false
	}
	j := d.journal(jid)
	j.note(h, "withdrew")
	if j.owner == lifeOf(h) {
		j.owner = ""
	}
	for _, b := range d.blocks {
		b.drop(func(x hold) bool { return lifeOf(x.Holder) == lifeOf(h) })
	}
	for _, other := range d.journals {
		beside = beside || other.replays && lifeOf(other.replayer) != lifeOf(h)
	}
	return beside
}

// BeginReplay tells that a life replays a journal that another one left; left is ""
// for the first mounter, who replays all.
func (d *Disk) BeginReplay(h Holder, jid int, left string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	if d.isDead(h) {
		return fmt.Errorf("%v, journal %d: %w", h, jid, ErrFenced)
	}
	j.note(h, "replays what %q left", left)
	d.claim(j, h, "replays")
	if j.recovered[left] {
		d.flag(ReplayedAgain, &j.block, h, Holder{}, "%v replays what %s left in journal %d, which is replayed", h, left, jid)
	}
	j.replays, j.replayer, j.asked = true, h, d.asks[left]
	if d.mounting[left] {
		j.asked = -1
	}
	return nil
}

// EndReplay tells that a replay is over. If it is complete every record is in its
// place; otherwise somebody else begins anew. It returns ErrFenced, and nothing is
// done, if the machine is dead.
func (d *Disk) EndReplay(h Holder, jid int, complete bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	if d.isDead(h) {
		return fmt.Errorf("%v, journal %d: %w", h, jid, ErrFenced)
	}
	if complete {
		d.claim(j, h, "has replayed")
		clear(j.records)
	}
	if j.replayer == h {
		j.replays = false
	}
	j.note(h, "ended the replay, complete %v", complete)
	return nil
}

// Recovered tells that the servers have accepted the word that what a life left in
// a journal is replayed: nobody is asked to do that again.
func (d *Disk) Recovered(jid int, left string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal(jid)
	j.recovered[left] = j.asked == d.asks[left]
}

// Replaying reports whether anybody who lives is replaying a journal.
func (d *Disk) Replaying() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, j := range d.journals {
		if j.replays && !d.isDead(j.replayer) {
			return true
		}
	}
	return false
}

// Unreplayed names the records of lives that are over, "" if there are none.
func (d *Disk) Unreplayed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for jid, j := range d.journals {
		for resource, r := range j.records {
			if lifeOf(r.Holder) != j.owner || !d.writing(r.Holder) {
				out = append(out, fmt.Sprintf("%s in journal %d by %v", resource, jid, r.Holder))
			}
		}
	}
	return strings.Join(out, ", ")
}

// RecoverersDied counts the replays that ended with their machine.
func (d *Disk) RecoverersDied() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cutReplays
}

// killReplays ends the replays of machines that are dead.
func (d *Disk) killReplays() {
	for _, j := range d.journals {
		if j.replays && d.isDead(j.replayer) {
			j.replays = false
			d.cutReplays++
		}
	}
}

// checkRecords flags a grant of what a record is about that was not replayed.
func (d *Disk) checkRecords(b *block, h Holder, mode Mode) {
	for jid, j := range d.journals {
		r, ok := j.records[b.resource]
		if !ok || r.Holder == h || mode.Compatible(r.mode) {
			continue
		}
		d.flag(GrantBeforeReplay, b, h, r.Holder, "%v was granted %v while the record of %v in journal %d is not replayed", h, mode, r.Holder, jid)
	}
}
