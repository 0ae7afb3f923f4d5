//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// inside runs the benchmarks of what a call does in its process: warm, unlike a
// process that has just begun.
func (b *bench) inside() error {
	say("go test -bench")
	const times = 5
	benchmarks := []struct{ name, what string }{
		{"BenchmarkFilesRead", "read a record of 3 KB from the store"},
		{"BenchmarkFilesUpdate", "replace it: lock, room, four syncs, rename"},
		{"BenchmarkFilesDelete", "delete it: lock, sync"},
		{"BenchmarkDecode", "decode a record"},
		{"BenchmarkEncode", "encode it"},
		{"BenchmarkSeal", "seal 2 KiB with age (X25519)"},
		{"BenchmarkOpen", "open it"},
	}
	cmd := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "200ms", "-count", strconv.Itoa(times),
		"./internal/tokenstore", "./internal/stored", "./internal/tokenstore/seal")
	cmd.Dir = b.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench: %w\n%s", err, out)
	}
	line := regexp.MustCompile(`(?m)^(Benchmark\w+)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op.*?\s(\d+) allocs/op`)
	took, allocs := map[string][]float64{}, map[string]string{}
	for _, m := range line.FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return err
		}
		took[m[1]] = append(took[m[1]], n)
		allocs[m[1]] = m[3]
	}
	t := &table{head: []string{"in the process", "µs", "allocations"}}
	for _, one := range benchmarks {
		all := took[one.name]
		if len(all) == 0 {
			return fmt.Errorf("there is no %s:\n%s", one.name, strings.TrimSpace(string(out)))
		}
		slices.Sort(all)
		t.add(one.what, fmt.Sprintf("%.1f", all[len(all)/2]/1e3), allocs[one.name])
	}
	return b.show("inside", fmt.Sprintf("`go test -bench`, medians of %d", times), t)
}
