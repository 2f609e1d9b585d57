package lock

// avlLinks make a record a node of a tree.
type avlLinks struct {
	left, right uint32
	height      uint8
}

// avlOrder says where a tree keeps its links in a record and how it is sorted.
type avlOrder[T any] interface {
	links(n *T) *avlLinks
	// before compares two records; no two of one tree are equal.
	before(a, b *T) bool
	// sum sets what n knows of its subtree from its children, nil where none.
	sum(n, left, right *T)
}

// avl works on balanced trees of the records of an arena; a tree is the slot of
// its root, 0 when empty.
type avl[T any, O avlOrder[T]] struct {
	nodes *arena[T]
	order O
}

func (v avl[T, O]) links(slot uint32) avlLinks { return *v.order.links(v.nodes.get(slot)) }

func (v avl[T, O]) height(slot uint32) int {
	if slot == 0 {
		return 0
	}
	return int(v.links(slot).height)
}

func (v avl[T, O]) setLeft(slot, child uint32)  { v.order.links(v.nodes.mut(slot)).left = child }
func (v avl[T, O]) setRight(slot, child uint32) { v.order.links(v.nodes.mut(slot)).right = child }

// insert adds a slot to a tree and returns the new root.
func (v avl[T, O]) insert(root, slot uint32) uint32 {
	if root == 0 {
		*v.order.links(v.nodes.mut(slot)) = avlLinks{}
		v.fix(slot)
		return slot
	}
	if v.order.before(v.nodes.get(slot), v.nodes.get(root)) {
		v.setLeft(root, v.insert(v.links(root).left, slot))
	} else {
		v.setRight(root, v.insert(v.links(root).right, slot))
	}
	return v.balance(root)
}

// remove takes a slot out of the tree that it is in and returns the new root.
func (v avl[T, O]) remove(root, slot uint32) uint32 {
	switch {
	case root == 0:
		panic("lock: a record is missing from its tree")
	case root == slot:
		k := v.links(slot)
		return v.join(k.left, k.right)
	case v.order.before(v.nodes.get(slot), v.nodes.get(root)):
		v.setLeft(root, v.remove(v.links(root).left, slot))
	default:
		v.setRight(root, v.remove(v.links(root).right, slot))
	}
	return v.balance(root)
}

// join makes one of the two subtrees of a node that goes.
func (v avl[T, O]) join(left, right uint32) uint32 {
	if left == 0 {
		return right
	}
	if right == 0 {
		return left
	}
	rest, first := v.takeFirst(right)
	v.setLeft(first, left)
	v.setRight(first, rest)
	return v.balance(first)
}

func (v avl[T, O]) takeFirst(root uint32) (rest, first uint32) {
	k := v.links(root)
	if k.left == 0 {
		return k.right, root
	}
	rest, first = v.takeFirst(k.left)
	v.setLeft(root, rest)
	return v.balance(root), first
}

// balance restores the balance of a node one of whose subtrees grew or shrank
// by one, and returns the node that now stands there.
func (v avl[T, O]) balance(slot uint32) uint32 {
	k := v.links(slot)
	switch v.height(k.left) - v.height(k.right) {
	case 2:
		if l := v.links(k.left); v.height(l.left) < v.height(l.right) {
			v.setLeft(slot, v.rotateLeft(k.left))
		}
		return v.rotateRight(slot)
	case -2:
		if r := v.links(k.right); v.height(r.right) < v.height(r.left) {
			v.setRight(slot, v.rotateRight(k.right))
		}
		return v.rotateLeft(slot)
	}
	v.fix(slot)
	return slot
}

func (v avl[T, O]) rotateRight(slot uint32) uint32 {
	up := v.links(slot).left
	v.setLeft(slot, v.links(up).right)
	v.setRight(up, slot)
	v.fix(slot)
	v.fix(up)
	return up
}

func (v avl[T, O]) rotateLeft(slot uint32) uint32 {
	up := v.links(slot).right
	v.setRight(slot, v.links(up).left)
	v.setLeft(up, slot)
	v.fix(slot)
	v.fix(up)
	return up
}

// fix recomputes what a node knows of its subtree.
func (v avl[T, O]) fix(slot uint32) {
	n := v.nodes.mut(slot)
	k := v.order.links(n)
	k.height = uint8(1 + max(v.height(k.left), v.height(k.right)))
	v.order.sum(n, v.child(k.left), v.child(k.right))
}

// child returns the record of a slot, nil for 0.
func (v avl[T, O]) child(slot uint32) *T {
	if slot == 0 {
		return nil
	}
	return v.nodes.get(slot)
}

// build makes a tree of slots that are sorted, and returns its root.
func (v avl[T, O]) build(slots []uint32) uint32 {
	if len(slots) == 0 {
		return 0
	}
	middle := len(slots) / 2
	left, right := v.build(slots[:middle]), v.build(slots[middle+1:])
	slot := slots[middle]
	*v.order.links(v.nodes.mut(slot)) = avlLinks{left: left, right: right}
	v.fix(slot)
	return slot
}

// each calls yield for all slots of a tree in order, until it returns false.
// The tree must not change meanwhile.
func (v avl[T, O]) each(root uint32, yield func(slot uint32) bool) bool {
	if root == 0 {
		return true
	}
	k := v.links(root)
	return v.each(k.left, yield) && yield(root) && v.each(k.right, yield)
}
