package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// disk is where records are: the file system of a machine, or the database that machines
// share. What was renamed can be read at once, and is durable only once it was synced: a
// machine that loses power forgets the rest. All of it is in memory.
type disk struct {
	name   string // "store", or "spool" beside a shared store
	shared bool   // a database: a session can end while its process lives

	mu    sync.Mutex // never held while time passes
	cells map[string]*cell
}

// cell is one record.
type cell struct {
	visible, durable []byte // nil: there is none
	holder           *hold
	queue            []*hold
}

// hold is a lock on a record, or the wait for it.
type hold struct {
	by   *process
	got  chan struct{} // closed when it is held
	lost bool          // the session that held it has ended
}

func newDisk(name string, shared bool) *disk {
	return &disk{name: name, shared: shared, cells: map[string]*cell{}}
}

func (d *disk) cell(name string) *cell {
	c := d.cells[name]
	if c == nil {
		c = &cell{}
		d.cells[name] = c
	}
	return c
}

// peek returns what a reader sees.
func (d *disk) peek(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cell(name).visible
}

// losePower forgets what was not synced.
func (d *disk) losePower() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.cells {
		c.visible = c.durable
	}
}

// free ends the sessions of a process, or, if it is nil, all: their locks are free.
func (d *disk) free(p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.cells {
		for _, h := range append(slices.Clone(c.queue), c.holder) {
			if h == nil || p != nil && h.by != p {
				continue
			}
			h.lost = true
			if c.holder != h {
				close(h.got) // it waits for nothing any more
			}
			c.release(h)
		}
	}
}

// release gives the lock, or the place in the queue, to the next. It may be called again.
func (c *cell) release(h *hold) {
	if i := slices.Index(c.queue, h); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	if c.holder != h {
		return
	}
	if c.holder = nil; len(c.queue) > 0 {
		c.holder = c.queue[0]
		c.queue = c.queue[1:]
		close(c.holder.got)
	}
}

// handle is a disk as one process sees it. Every call is a step of the process; a nil
// process takes none.
type handle struct {
	*disk
	p *process
}

func (d *disk) open(p *process) record.Store { return handle{d, p} }

// step takes a step of the process. It returns why the disk fails there, or nil.
func (h handle) step(at string, kind tokenstore.Kind) error {
	if h.p == nil {
		return nil
	}
	t := h.p.step(h.name + " " + at)
	down := h.shared && h.p.w.now(databaseDown)
	switch {
	case down:
		h.free(nil)
	case t.kind == sessionEnds && h.shared:
		h.free(h.p)
		if kind != tokenstore.Late {
			return nil // the next statement fails
		}
	case t.kind != storeFails:
		return nil
	}
	if h.shared && kind != tokenstore.Late {
		kind = tokenstore.Database
	}
	return h.fail(kind, at, errors.New("input/output error"))
}

func (h handle) fail(kind tokenstore.Kind, at string, err error) error {
	if h.p != nil {
		h.p.failed(kind, h.shared)
	}
	return &tokenstore.Error{Kind: kind, Op: at, Name: h.name, Err: err}
}

func (h handle) Read(ctx context.Context, name string) ([]byte, error) {
	if err := tokenstore.CheckName(name); err != nil {
		return nil, err
	}
	if err := h.step("read", tokenstore.Directory); err != nil {
		return nil, err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx)
	}
	b := h.peek(name)
	if b == nil {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(b), nil
}

// lock waits for the record's lock.
func (h handle) lock(ctx context.Context, name string) (c *cell, held *hold, err error) {
	if err := tokenstore.CheckName(name); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err := h.step("lock", tokenstore.Directory); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil { // meanwhile
		return nil, nil, h.late(ctx)
	}
	held = &hold{by: h.p, got: make(chan struct{})}
	h.mu.Lock()
	c = h.cell(name)
	if c.holder == nil {
		c.holder = held
		close(held.got)
	} else {
		c.queue = append(c.queue, held)
	}
	h.mu.Unlock()
	var killed chan struct{}
	if h.p != nil {
		killed = h.p.killed
	}
	select {
	case <-held.got:
		h.mu.Lock()
		lost := held.lost
		h.mu.Unlock()
		if lost {
			return nil, nil, h.fail(tokenstore.Database, "lock", errors.New("the session has ended"))
		}
	case <-killed:
		h.p.exitIfDead()
	case <-ctx.Done():
		h.unlock(c, held)
		return nil, nil, h.late(ctx)
	}
	return c, held, nil
}

// late returns the error of a wait that ctx has ended.
func (h handle) late(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return h.fail(tokenstore.Lock, "lock", ctx.Err())
	}
	return context.Cause(ctx)
}

func (h handle) unlock(c *cell, held *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.release(held)
}

// Update has the steps of a file: lock, room, write, rename, sync. In a database the
// commit is both of the last two.
func (h handle) Update(ctx context.Context, name string, change record.Change) error {
	c, held, err := h.lock(ctx, name)
	if err != nil {
		return err
	}
	defer h.unlock(c, held)
	if err := h.step("room", tokenstore.Directory); err != nil {
		return err
	}
	h.mu.Lock()
	old := c.visible
	c.durable = old // the directory is synced first
	h.mu.Unlock()
	changed, err := change(ctx, bytes.Clone(old))
	write, err := tokenstore.Result(h.name, old, changed, err)
	if !write {
		return err
	}
	if err := h.step("write", tokenstore.Late); err != nil {
		return err
	}
	h.mu.Lock()
	if held.lost {
		h.mu.Unlock()
		return h.fail(tokenstore.Late, "write", errors.New("the session has ended"))
	}
	c.visible = bytes.Clone(changed)
	if h.shared {
		c.durable = c.visible
	}
	h.mu.Unlock()
	if err := h.step("sync", tokenstore.Late); err != nil {
		return err
	}
	h.mu.Lock()
	if !held.lost {
		c.durable = c.visible
	}
	h.mu.Unlock()
	if h.p != nil {
		h.p.step(h.name + " saved")
	}
	return nil
}

func (h handle) Delete(ctx context.Context, name string) error {
	c, held, err := h.lock(ctx, name)
	if err != nil {
		return err
	}
	defer h.unlock(c, held)
	if err := h.step("delete", tokenstore.Directory); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.visible, c.durable = nil, nil
	return nil
}
