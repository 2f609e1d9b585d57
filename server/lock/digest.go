package lock

// Digest returns a number that is equal for tables with equal lockspaces,
// sessions, resources, locks, queues, modes and counters, whatever way they came
// about, and differs for others but for chance. It walks the whole table.
func (t *Table) Digest() uint64 {
	d := mix64(t.lastToken) + mix64(t.lastOrder+1)*3 + mix64(uint64(t.lastSpace)+2)*5
	for _, sp := range t.spaces {
		h := newHash(1).num(uint64(sp.number)).bytes([]byte(sp.name)).num(uint64(sp.policy) | uint64(sp.lease)<<8).
			num(uint64(sp.valueLen)).num(sp.generation).flag(sp.keepValues).flag(sp.pinned)
		for _, m := range sp.members {
			h = h.num(uint64(m))
		}
		d += h.sum()
	}
	for _, o := range t.owners {
		h := newHash(2).num(uint64(o.session)).num(uint64(o.node)).num(uint64(o.locks)).flag(o.frozen).flag(o.doubted)
		for e := range o.ended.all {
			h = h.num(uint64(e.id)).num(uint64(e.why)).num(e.changed).num(uint64(e.mode)).num(e.token).bytes([]byte(e.detail))
		}
		for set := range o.sets.all {
			h = set.hashed(h)
		}
		for _, d := range o.told {
			h = h.num(uint64(d.id)).bytes([]byte(d.detail))
		}
		for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
			h = h.num(uint64(t.locks.get(slot).id))
		}
		d += h.sum()
	}
	t.Walk(func(r *ResourceState) bool {
		// The walk has no order, so resources are added up.
		h := newHash(3).num(uint64(r.Lockspace)).bytes(r.Name).
			bytes(r.Value).num(r.ValueVersion).flag(r.ValueInvalid).num(uint64(r.Overtaken))
		for _, l := range r.Locks {
			h = h.num(uint64(l.Session)).num(uint64(l.ID)).num(l.Token).num(l.Order).num(l.Changed).num(uint64(l.Flags)).
				num(uint64(l.Queue) | uint64(l.Granted)<<8 | uint64(l.Requested)<<16 | uint64(l.Blocking)<<24 |
					uint64(l.Status)<<32 | uint64(l.Denied)<<40).num(uint64(l.Origin)).num(l.Sub)
			if l.Owner|uint64(l.Set)|uint64(l.Timeout)|l.Since != 0 {
				h = h.num(l.Owner).num(uint64(l.Set)).num(uint64(l.Timeout)).num(l.Since)
			}
		}
		d += h.sum()
		return true
	})
	return d + t.ranges.Digest(t.rangeFileSum)
}

// hash is FNV-1a with a final mix.
type hash uint64

func newHash(kind uint64) hash { return hash(14695981039346656037).num(kind) }

func (h hash) num(n uint64) hash {
	for s := 0; s < 64; s += 8 {
		h = (h ^ hash(byte(n>>s))) * 1099511628211
	}
	return h
}

func (h hash) flag(b bool) hash {
	if b {
		return h.num(1)
	}
	return h.num(0)
}

func (h hash) bytes(b []byte) hash {
	h = h.num(uint64(len(b)))
	for _, c := range b {
		h = (h ^ hash(c)) * 1099511628211
	}
	return h
}

func (h hash) sum() uint64 { return mix64(uint64(h)) }
