package ledger

// pendingQueue holds receipts in the order of their entries. Taking from its front costs the same
// however many wait. The zero value is empty.
type pendingQueue struct {
	items []*pending
	head  int // of the first that is still there
}

func (q *pendingQueue) push(p *pending) { q.items = append(q.items, p) }

// covered gives the first receipts, at most max, whose entries a tree of the given size holds. They stay
// in the queue; the slice is good until the queue is changed other than by push.
func (q *pendingQueue) covered(size uint64, max int) []*pending {
	rest := q.items[q.head:]
	n := 0
	for n < len(rest) && n < max && rest[n].n < size {
		n++
	}
	return rest[:n:n]
}

// drop removes the first n.
func (q *pendingQueue) drop(n int) {
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.head > len(q.items)/2 {
		left := copy(q.items, q.items[q.head:])
		clear(q.items[left:])
		q.items, q.head = q.items[:left], 0
	}
}

// putBack puts older ones before all others.
func (q *pendingQueue) putBack(older []*pending) {
	q.items, q.head = append(older[:len(older):len(older)], q.items[q.head:]...), 0
}
