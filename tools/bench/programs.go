//go:build linux

package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// programs are ours that are measured, by their paths.
type programs struct {
	packaged string // exactauth as packages have it, the front before the whole
	behind   string // the whole beside it
	whole    string // exactauth as "go install" makes it
	hello    string
	cobra    string
	jsonOnly string
}

// Limits of stripped programs for amd64, in bytes.
const (
	frontLimit = 3_000_000
	wholeLimit = 12_000_000
)

func (b *bench) build() (programs, error) {
	say("building")
	in := func(elements ...string) string { return filepath.Join(append([]string{b.dir}, elements...)...) }
	p := programs{
		packaged: in("packaged", "exactauth"), behind: in("packaged", "exactauth-full"), whole: in("whole", "exactauth"),
		hello: in("hello"), cobra: in("cobra"), jsonOnly: in("jsononly"),
	}
	for path, pkg := range map[string]string{
		p.packaged: "./cmd/exactauth-front", p.whole: "./cmd/exactauth",
		p.hello: "./tools/bench/hello", p.cobra: "./tools/bench/cobra", p.jsonOnly: "./tools/bench/jsononly",
	} {
		if err := b.goBuild("", path, pkg); err != nil {
			return programs{}, err
		}
	}
	if err := os.Link(p.whole, p.behind); err != nil {
		return programs{}, err
	}
	for path, limit := range map[string]int64{p.packaged: frontLimit, p.whole: wholeLimit} {
		if n := size(path); n > limit {
			b.wrong("%s has %d bytes, more than %d", path, n, limit)
		}
	}
	return p, nil
}

// goBuild builds a package as a release does.
func (b *bench) goBuild(dir, path, pkg string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", path}, flags...)
	return b.tool(dir, []string{"CGO_ENABLED=0"}, "go", append(args, pkg)...)
}

// forget has a program read from the disk when it starts next, as after a boot.
// How it came into memory tells in how it starts: from what a linker or cp has just
// written it takes up to a fifth more or less time, and other memory, too.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// size is that of a file, 0 if it cannot be told.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
