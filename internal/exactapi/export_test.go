package exactapi

// Waiting tells how many requests are in a division's queue, and how many are under way.
func (p *Proxy) Waiting(name string) (queued, inFlight int) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	d := p.gate.division(name)
	return len(d.queue), d.inFlight
}

// Turn has a division look at the clock, which a test has moved on.
func (p *Proxy) Turn(name string) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.dispatch(p.gate.division(name))
}
