//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/program"
)

func (t *trial) blame(format string, args ...any) {
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

func (t *trial) must(err error) {
	if err != nil {
		t.blame("cannot judge: %v", err)
	}
}

// killed reports whether the fault killed the program.
func (t *trial) killed() bool { return t.struck != nil && t.fault.errno == 0 }

// next runs a call without a fault after the one with it.
func (t *trial) next(args ...string) *program.Process {
	p, err := t.run(args, false)
	t.must(err)
	t.after = append(t.after, p)
	t.wrong = append(t.wrong, p.Faults([]int{p.Code})...) // what its code should be is judged by the caller
	return p
}

// token asks for a token until the call does not say to try again later.
func (t *trial) token() *program.Process {
	p := t.next("token")
	for range 3 {
		if p.Code == 5 {
			t.must(t.passes(life))
			p = t.next("token")
		}
	}
	return p
}

// prints reports whether a call of token printed one that the server takes.
func (t *trial) prints(p *program.Process) bool {
	return p.Code == 0 && t.sim.AccessTokenLive(strings.TrimSpace(p.Out.String()))
}

func (t *trial) judge() {
	command, failed, ends := t.args[0], t.result.Code != 0, t.args[0] == "logout"
	t.judgeCode()
	// Before the next call takes up or removes what was left.
	t.must(t.files(func(path string, content []byte) error {
		r, err := record.Decode(content)
		if err == nil && (t.sim.RefreshTokenState(r.Refresh.Reveal()) == exactsim.Current ||
			r.Pending != nil && t.sim.RefreshTokenState(r.Pending.Refresh.Reveal()) == exactsim.Current) {
			t.whole = path
		}
		return nil
	}))
	first := t.token()
	last := first
	if half := command == "setup" && first.Code == 6 && failed; half {
		// The record is sealed and the configuration does not say so, or the other way round.
		t.explained = "half done, and setup again completes it"
		if !strings.Contains(t.result.Err.String()+first.Err.String(), "exactauth setup") {
			t.blame("half of the change is made, and no message says to run setup again")
		}
	}
	if failed && (command == "setup" || ends) {
		if again := t.next(t.args...); again.Code != 0 && !(again.Code == 2 && first.Code == 2) {
			t.blame("the same call again: exit %d", again.Code)
		}
	}
	switch {
	case ends:
		if last = t.token(); last.Code != 4 && last.Code != 2 {
			t.blame("the login is not ended: exit %d", last.Code)
		}
		if !t.prints(first) && first.Code != 4 && first.Code != 2 || t.prints(first) && !failed {
			t.blame("the next token: exit %d", first.Code)
		}
	case t.name == "login" && failed && t.issued == 0 && first.Code == 4: // there is no login, as before
	case t.explained == "" && !t.prints(first):
		t.judgeLoss(first)
	default: // is the refresh token alive, too?
		if command == "setup" { // the times in a sealed record cannot be set
			if p := t.next("setup", "--seal", "none"); p.Code != 0 {
				t.blame("setup --seal none: exit %d", p.Code)
			}
		}
		t.must(t.passes(life))
		if last = t.token(); !t.prints(last) {
			t.judgeLoss(last)
		}
	}
	t.judgeWords(first, ends)
	t.judgeSecrets(ends)
}

func (t *trial) judgeCode() {
	allowed := []int{0}
	switch {
	case t.struck == nil:
	case t.killed():
		allowed = []int{128 + int(unix.SIGKILL)}
	case t.struck.on == "stdout":
		allowed = []int{0, 1} // the whole program may print what the front could not
	case t.struck.on == "socket":
		allowed = []int{0, 5}
	default:
		allowed = []int{0, 6}
	}
	t.wrong = append(t.wrong, t.result.Faults(allowed)...)
	if t.result.Code == 0 && t.args[0] == "token" && !t.prints(t.result) {
		t.blame("it printed a token that the server does not take")
	}
}

// judgeLoss explains why a call of token printed no live one, or blames the program for it.
func (t *trial) judgeLoss(p *program.Process) {
	switch {
	case p.Code != 4:
		t.blame("a later token: exit %d", p.Code)
	case t.whole != "":
		t.blame("the login is lost (exit %d) although %s had it whole", p.Code, t.whole)
	case t.killed() && t.issued > 0:
		t.explained = "killed after the server's act and before the save"
	default:
		t.blame("the login is lost (exit %d) without a cause", p.Code)
	}
}

// judgeWords looks for false statements in what the call said.
func (t *trial) judgeWords(first *program.Process, ends bool) {
	changed := t.issued > 0 || ends && first.Code != 0 || t.explained != ""
	for _, claim := range []struct {
		words string
		false bool
	}{
		{`(?i)(an|the) other (process|machine)|another (process|machine)`, true},
		{`(?i)damaged`, true},
		{`(?i)nothing (was|is) (spent|changed|lost)|untouched`, changed},
		{`(?i)(^|[^f] )exact (has |had )?(just )?(answered|sent)|exact's reply`, t.sent == 0},
		{`(?m)^Signed in as|It stays signed in|are removed from`, ends == (first.Code == 0)},
	} {
		if said := regexp.MustCompile(claim.words).FindString(t.result.Out.String() + "\n" + t.result.Err.String()); said != "" && claim.false {
			t.blame("a message is false: %q", said)
		}
	}
	if strings.Contains(first.Err.String(), "damaged") {
		t.blame("the next call finds a damaged record")
	}
}

// judgeSecrets looks for secrets in files that should not have them.
func (t *trial) judgeSecrets(ends bool) {
	t.must(t.files(func(path string, content []byte) error {
		name, _ := filepath.Rel(t.dir, path)
		signedOut := ends && bytes.Contains(content, []byte("refresh_token"))
		// What was not renamed is as private as the record, and the next update takes it up.
		place := name == "state/default" || name == "state/default.tmp" && t.args[0] == "login"
		if program.HasSecret(content) && (!place || signedOut) && !t.killed() {
			t.blame("%s has secrets in it", name)
		}
		return nil
	}))
}
