package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
)

func TestDisk(t *testing.T) {
	for _, shared := range []bool{false, true} {
		storetest.Run(t, func(t *testing.T) func() record.Store {
			w := newWorld(&plan{skews: []time.Duration{0}})
			d := newDisk("store", shared)
			return func() record.Store {
				p := &process{w: w, m: w.machines[0], life: t.Context(), rand: rand.New(rand.NewPCG(0, 0))}
				w.do(func() { w.started, p.id = w.started+1, w.started })
				return d.open(p)
			}
		})
	}
}

// What is renamed and not synced is forgotten.
func TestDiskLosesPower(t *testing.T) {
	d := newDisk("store", false)
	c := d.cell("a")
	c.durable, c.visible = []byte("old"), []byte("new")
	d.losePower()
	if got := string(c.visible); got != "old" {
		t.Errorf("after a power cut: %q", got)
	}
}

func TestSeedRepeatsTheTrace(t *testing.T) {
	for n := range 2 {
		var first, second bytes.Buffer
		play(t, draw(7, n), true, (*world).run).print(&first, true)
		play(t, draw(7, n), true, (*world).run).print(&second, true)
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("run %d differs from itself", n)
		}
		if first.Len() == 0 {
			t.Errorf("run %d has no trace", n)
		}
	}
}

func TestYears(t *testing.T) {
	var out bytes.Buffer
	if all(t, &out, options{years: 12, seed: 20261126, run: -1}) != 0 {
		t.Errorf("%s", out.String())
	}
	t.Logf("%s", out.String())
}

// Two processes, one expiry.
func TestOrders(t *testing.T) {
	for _, lenient := range []bool{false, true} {
		var out bytes.Buffer
		if _, wrong := orders(t, lenient, 2, 0, &out); wrong > 0 {
			t.Error("some orders are wrong")
		}
		t.Log(out.String())
	}
}
