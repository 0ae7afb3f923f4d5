package main

// turns decides whose step comes next.
type turns struct{}

func (t *turns) wait(p *process, at string) {}
