// Command exactauth-front is what packages install under the name exactauth. It
// prints a live access token, in about half the time that the whole program takes to
// start, and becomes the whole program for everything else: other commands, other
// flags, and every token that is not plainly live.
//
// At each start a Go program pays for all that is linked into it. This program links
// nothing that uses a network, a database or a keyring, and decides nothing: what it
// prints the whole program would print too, and in doubt it prints nothing.
// docs/performance.md has the figures and what else was tried.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

func main() {
	growStack()
	if text, ok := liveToken(os.Args[1:], os.Getenv, time.Now); ok {
		n, err := io.WriteString(os.Stdout, text)
		if err == nil {
			return
		}
		if n > 0 {
			fmt.Fprintf(os.Stderr, "exactauth: standard output: %v\n", err)
			os.Exit(1)
		}
		// The whole program will fail, too, and report that as it reports everything.
	}
	err := become(wholeProgram())
	fmt.Fprintf(os.Stderr, "exactauth: the rest of the program cannot be run: %v\n"+
		"exactauth: hint: exactauth-full belongs beside exactauth, or into ../lib/exactauth; install the package again\n", err)
	os.Exit(1)
}

// growStack has the stack grow once, while there is nothing on it. Otherwise it doubles
// several times on the way to the parser, and each time the runtime looks up every frame
// in tables that are not in memory yet: 2 to 3 % of a call. The room is never used, since
// that would bring its pages into memory.
//
//go:noinline
func growStack() byte {
	if len(os.Args) < 1<<30 {
		return 0
	}
	var room [16 << 10]byte
	return room[len(os.Args)%len(room)]
}

// wholeProgram returns the places where the whole program may be, the likelier first.
func wholeProgram() []string {
	self, err := os.Executable()
	if err != nil { // there is no /proc
		return []string{"/usr/lib/exactauth/exactauth-full"} // where Linux packages have it
	}
	// A package manager may have made a link to it.
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	dir := filepath.Dir(self)
	return []string{filepath.Join(dir, "exactauth-full"), filepath.Join(dir, "..", "lib", "exactauth", "exactauth-full")}
}

// request is what the command line asks for.
type request struct {
	profile string // empty: what the configuration says
	format  string
	json    bool
}

// asked reads the command line, which must be "token" with at most a profile's name and
// a format. Unusual spellings are left to the whole program.
func asked(args []string) (r request, ok bool) {
	for len(args) > 0 {
		flag, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		switch {
		case flag == "token" && !joined && !ok:
			ok = true
			continue
		case flag == "--json" && !joined:
			r.json = true
			continue
		case !joined && len(args) > 0:
			value, args = args[0], args[1:]
		}
		switch {
		case value == "":
			return request{}, false
		case flag == "-p" && !joined, flag == "--profile":
			r.profile = value
		case flag == "--format":
			r.format = value
		default:
			return request{}, false
		}
	}
	if r.json && r.format != "" { // an error
		return request{}, false
	}
	r.format = cmp.Or(r.format, "token")
	return r, ok
}

// liveToken returns what "exactauth token" would print, if the token is plainly live.
// Where the whole program would print an error, wait, open another store or a seal,
// liveToken returns nothing.
func liveToken(args []string, env func(string) string, now func() time.Time) (string, bool) {
	r, ok := asked(args)
	if !ok {
		return "", false
	}
	p, err := config.Resolve(env, r.profile)
	if err != nil || p.Store != config.StoreFile || p.Seal != config.SealNone {
		return "", false
	}
	dir, err := config.StateDir(env)
	if err != nil {
		return "", false
	}
	t, at, ok := fresh(dir, p, now)
	if !ok {
		return "", false
	}
	text, err := t.Text(r.format)
	if err == nil && r.json {
		text, err = t.JSON(at)
	}
	return text, err == nil
}

// patience bounds the wait for another process's refresh.
const patience = time.Second

// fresh returns the token in p's record if it is fresh, and when it was. If the token
// is due and another process is replacing it, fresh waits for that process: otherwise
// 200 processes that find the token due would all start as the whole program, most
// of them only to wait there.
func fresh(dir string, p config.Settings, now func() time.Time) (t record.Token, at time.Time, ok bool) {
	store := tokenstore.NewFiles(dir, func(text string) { fmt.Fprintf(os.Stderr, "exactauth: note: %s\n", text) })
	for began := time.Now(); ; {
		b, err := store.Read(context.Background(), p.Name)
		r, ours := open(b, p)
		if err != nil || !ours {
			return t, at, false
		}
		if at = now(); r.Fresh(at) {
			// A refresh may have replaced the token, whose answer waits where the whole
			// program looks, because it could not be saved here.
			if !r.SpentAt.IsZero() {
				return t, at, false
			}
			return record.Token{Access: r.Access, ExpiresAt: r.ExpiresAt(), BaseURL: r.BaseURL, Profile: p.Name, Division: p.Division}, at, true
		}
		left, age := patience-time.Since(began), at.Sub(r.SpentAt)
		switch {
		case left > 0 && store.WaitUnlocked(context.Background(), p.Name, left):
		case left > 0 && age >= 0 && age < patience: // between the two updates of a refresh, the mark and the request
			time.Sleep(10 * time.Millisecond)
		default:
			return t, at, false
		}
	}
}

// open reads a record, and reports whether it is p's and its token may be handed out
// while it is fresh.
func open(b []byte, p config.Settings) (r *record.Record, ours bool) {
	r, err := record.Decode(b)
	return r, err == nil && !r.Unsettled() && r.CodeAt.IsZero() && r.MovedTo == "" && r.BaseURL == p.BaseURL && r.ClientID == p.ClientID
}

var errMissing = errors.New("it is missing")
