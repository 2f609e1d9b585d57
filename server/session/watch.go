package session

import (
	"slices"
	"sync"
)

// Watcher collects the names of nodes whose state changed. It never overflows,
// since a node is noted once however often it changes.
type Watcher struct {
	wake chan struct{}

	mu    sync.Mutex
	nodes []string
	err   error
}

// Watch returns a watcher; end it with Unwatch. Call it inside machine.View with
// the reading of the present state.
func (h *Hub) Watch() *Watcher {
	w := &Watcher{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w
}

// Unwatch forgets a watcher.
func (h *Hub) Unwatch(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// Wake returns the channel that has a value when Take is worth calling.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take returns the names of the nodes that changed, in order of their first
// change, or why the watcher was closed.
func (w *Watcher) Take() ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	nodes := w.nodes
	w.nodes = nil
	if len(nodes) == 0 && w.err != nil {
		return nil, w.err
	}
	if w.err != nil {
		w.signal()
	}
	return nodes, nil
}

func (w *Watcher) changed(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.nodes, node) {
		w.nodes = append(w.nodes, node)
	}
	w.signal()
}

func (w *Watcher) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
