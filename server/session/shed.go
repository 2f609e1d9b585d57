package session

// Shed asks every attached session to give back locks that it only caches.
func (h *Hub) Shed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.boxes {
		o.askToShed()
	}
}

func (o *Outbox) askToShed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shed = true
	o.signal()
}
