package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// disk is where records are: the file system of a machine, or the database that machines
// share. What was renamed can be read at once, and is durable only once it was synced: a
// machine that loses power forgets the rest. The world's mutex guards it.
type disk struct {
	name   string // "store", or "spool" beside a shared store
	shared bool   // a database: a session can end while its process lives
	cells  map[string]*cell
	second *disk // of the login in files: where new tokens wait that this disk did not take; or nil
}

type cell struct {
	visible, durable []byte        // nil: there is none
	lock             chan struct{} // full while it is held
	holder           *handle       // nil if its session has ended
}

func newDisk(name string, shared bool) *disk {
	return &disk{name: name, shared: shared, cells: map[string]*cell{}}
}

func (d *disk) cell(name string) *cell {
	if d.cells[name] == nil {
		d.cells[name] = &cell{lock: make(chan struct{}, 1)}
	}
	return d.cells[name]
}

// waits returns what waits for the record of that name.
func (d *disk) waits(name string) []byte {
	if d.second == nil || name != profileName {
		return nil
	}
	return d.second.cell(name).visible
}

// losePower forgets what was not synced.
func (d *disk) losePower() {
	if d.second != nil {
		d.second.losePower()
	}
	for _, c := range d.cells {
		c.visible = c.durable
	}
}

// endSessions frees the locks of a process, or, if it is nil, all.
func (d *disk) endSessions(p *process) {
	for _, c := range d.cells {
		if c.holder != nil && (p == nil || c.holder.p == p) {
			c.release(c.holder)
		}
	}
}

// release passes the lock on, unless the session of its holder has ended.
func (c *cell) release(h *handle) {
	if c.holder == h {
		c.holder = nil
		<-c.lock
	}
}

// handle is a disk as one call of a process sees it. All it does are steps of the process.
type handle struct {
	*disk
	p *process
}

func (d *disk) open(p *process) record.Store { return handle{d, p} }

// step takes a step of the process. It returns why the disk fails there, or nil. Of a
// session that has ended, the next statement fails.
func (h handle) step(at string, kind tokenstore.Kind) (err error) {
	e := h.p.step(h.name + " " + at)
	h.p.w.do(func() {
		_, down := h.p.w.during(databaseDown, nil)
		if down = down && h.shared; down {
			h.endSessions(nil)
		}
		if down || e.kind == storeFails || e.kind == sessionEnds && h.shared && kind == tokenstore.Late {
			h.p.troubled, h.p.w.bad = true, time.Now()
			err = h.failed(kind, at, errors.New("input/output error"))
		}
	})
	return err
}

func (h handle) failed(kind tokenstore.Kind, at string, err error) error {
	if h.shared && kind == tokenstore.Directory {
		kind = tokenstore.Database
	}
	return &tokenstore.Error{Kind: kind, Op: at, Name: h.name, Err: err}
}

func (h handle) Read(ctx context.Context, name string) ([]byte, error) {
	if err := cmp.Or(tokenstore.CheckName(name), h.step("read", tokenstore.Directory)); err != nil {
		return nil, err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx)
	}
	var b []byte
	if h.p.w.do(func() { b = bytes.Clone(h.cell(name).visible) }); b == nil {
		return nil, fs.ErrNotExist
	}
	h.p.w.do(func() {
		if left := h.waits(name); left != nil && judged(exactauth.Newer(left, b)) {
			b = bytes.Clone(left)
		}
	})
	return b, nil
}

func judged(is bool, err error) bool { return is && err == nil }

// locked calls f with the record's lock.
func (h *handle) locked(ctx context.Context, name string, f func(c *cell) error) error {
	w := h.p.w
	if err := cmp.Or(tokenstore.CheckName(name), context.Cause(ctx)); err != nil {
		return err
	}
	if err := h.step("lock", tokenstore.Directory); err != nil {
		return err
	}
	var c *cell
	w.do(func() { c = h.cell(name) })
	if ctx.Err() == nil { // select would toss a coin
		select {
		case c.lock <- struct{}{}:
			w.do(func() { c.holder = h })
			defer w.do(func() { c.release(h) })
			h.p.exitIfOver()
			return f(c)
		case <-h.p.life.Done():
			h.p.exitIfOver()
		case <-ctx.Done():
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return h.failed(tokenstore.Lock, "lock", ctx.Err())
}

// Update has the steps of a file: lock, room, write, rename, sync. In a database the
// commit is both of the last two. New tokens that a file cannot have wait elsewhere, as
// package tokenstore has it.
func (h handle) Update(ctx context.Context, name string, change record.Change) error {
	return h.locked(ctx, name, func(c *cell) error {
		if err := h.step("room", tokenstore.Directory); err != nil {
			return err
		}
		var old, left []byte
		h.p.w.do(func() { // the directory is synced first
			old, c.durable, left = c.visible, c.visible, h.waits(name)
		})
		if left != nil {
			if old != nil && judged(exactauth.Newer(left, old)) {
				if err := h.save(c, left, tokenstore.Directory); err != nil {
					return err
				}
				old = left
			}
			h.p.w.do(func() { w := h.second.cell(name); w.visible, w.durable = nil, nil })
		}
		changed, err := change(ctx, bytes.Clone(old))
		write, err := tokenstore.Result(h.name, old, changed, err)
		if !write {
			return err
		}
		issued := !h.shared && judged(exactauth.Issued(changed, old))
		h.p.w.do(func() { h.p.saving = issued })
		err = h.save(c, changed, tokenstore.Late)
		if err != nil && issued && h.second != nil && name == profileName {
			h.p.w.do(func() { h.p.w.count["kept in a second place"]++ })
			err = handle{h.second, h.p}.save(h.second.cell(name), changed, tokenstore.Late)
		}
		h.p.w.do(func() { h.p.saving = false })
		return cmp.Or(err, h.step("saved", tokenstore.Late))
	})
}

// save makes b the record, durably.
func (h handle) save(c *cell, b []byte, kind tokenstore.Kind) error {
	if err := h.step("write", kind); err != nil {
		return err
	}
	lost := false
	h.p.w.do(func() {
		if lost = h.shared && (c.holder == nil || c.holder.p != h.p); lost {
			h.p.w.bad = time.Now()
		} else {
			c.visible = bytes.Clone(b)
		}
		if h.shared {
			c.durable = c.visible
		}
	})
	if lost {
		return h.failed(tokenstore.Late, "write", errors.New("the session has ended"))
	}
	if err := h.step("sync", kind); err != nil {
		return err
	}
	h.p.w.do(func() { c.durable = c.visible })
	return nil
}

func (h handle) Delete(ctx context.Context, name string) error {
	return h.locked(ctx, name, func(c *cell) error {
		if err := h.step("delete", tokenstore.Directory); err != nil {
			return err
		}
		h.p.w.do(func() { c.visible, c.durable = nil, nil })
		return nil
	})
}
