package main

import (
	"bytes"
	"testing"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
)

func TestDisk(t *testing.T) {
	for _, shared := range []bool{false, true} {
		storetest.Run(t, func(*testing.T) func() record.Store {
			d := newDisk("store", shared)
			return func() record.Store { return d.open(nil) }
		})
	}
}

// What is renamed and not synced is forgotten.
func TestDiskLosesPower(t *testing.T) {
	d := newDisk("store", false)
	c := d.cell("a")
	c.durable, c.visible = []byte("old"), []byte("new")
	d.losePower()
	if got := d.peek("a"); string(got) != "old" {
		t.Errorf("after a power cut: %q", got)
	}
}

func TestSeedRepeatsTheTrace(t *testing.T) {
	for n := range 8 {
		var first, second bytes.Buffer
		play(t, draw(7, n), true).print(&first, true)
		play(t, draw(7, n), true).print(&second, true)
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
	if all(t, &out, options{years: 40, seed: 20261126, run: -1}) != 0 {
		t.Errorf("%s", out.String())
	}
	t.Logf("%s", out.String())
}

// Two processes, one expiry.
func TestOrders(t *testing.T) {
	for _, lenient := range []bool{false, true} {
		var out bytes.Buffer
		runs, wrong := orders(t, lenient, 2, 1, &out)
		if wrong > 0 {
			t.Errorf("%d of %d orders are wrong\n%s", wrong, runs, out.String())
		}
		t.Logf("%d orders", runs)
	}
}
