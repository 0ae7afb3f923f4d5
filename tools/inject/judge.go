//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
)

func (t *trial) blame(format string, args ...any) {
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

// issued reports whether the simulator issued tokens to the call.
func (t *trial) issued() bool {
	return slices.ContainsFunc(t.requests, func(r request) bool { return r.issued })
}

// killed reports whether the fault killed the program.
func (t *trial) killed() bool { return t.struck != nil && t.fault.errno == 0 }

// judge judges the call by what the simulator knows and by what the next calls find.
func (t *trial) judge() {
	t.judgeCode()
	// Before the next call takes up or removes what was left.
	t.must(t.files(func(path string, content []byte) error {
		r, err := record.Decode(content)
		if err == nil && (t.sim.RefreshTokenState(r.Refresh.Reveal()) == exactsim.Current ||
			r.Pending != nil && t.sim.RefreshTokenState(r.Pending.Refresh.Reveal()) == exactsim.Current) {
			t.stored = path
		}
		return nil
	}))
	first := t.next("token")
	for range 3 {
		if first.code != 5 {
			break
		}
		t.must(t.passes(life)) // it says when to try again
		first = t.next("token")
	}
	switch {
	case t.ends:
		t.judgeEnd(first)
	case first.code == 6 && t.args[0] == "setup" && (t.killed() || t.result.code != 0):
		// The record is sealed and the configuration does not say so, or the other way round.
		if !strings.Contains(t.result.stderr+first.stderr, "exactauth setup") {
			t.blame("half of the change is made, and no message says to run setup again")
		}
		t.explained = "half done, and setup again completes it"
		if again := t.next(t.args...); again.code != 0 {
			t.blame("setup again does not complete it")
		}
		first = t.next("token")
		fallthrough
	default:
		t.judgeLogin(first)
	}
	t.judgeWords(first)
	t.judgeSecrets()
}

func (t *trial) must(err error) {
	if err != nil {
		t.blame("cannot judge: %v", err)
	}
}

// next runs a call without a fault after the one with it.
func (t *trial) next(args ...string) outcome {
	o, err := t.run(args, false)
	t.must(err)
	t.after = append(t.after, o)
	return o
}

// prints reports whether a call of token printed one that the server takes.
func (t *trial) prints(o outcome) bool {
	return o.code == 0 && t.sim.AccessTokenLive(strings.TrimSpace(o.stdout))
}

// judgeCode judges how the call ended.
func (t *trial) judgeCode() {
	r := t.result
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
	switch {
	case r.hung:
		t.blame("it hung")
	case !slices.Contains(allowed, r.code):
		t.blame("exit %d, want one of %d", r.code, allowed)
	case r.code != 0 && r.stderr == "" && !t.killed():
		t.blame("exit %d, and nothing on stderr", r.code)
	case r.code == 0 && t.args[0] == "token" && !t.prints(r):
		t.blame("it printed a token that the server does not take")
	}
}

// judgeLogin judges a login that the call must have kept or made.
func (t *trial) judgeLogin(first outcome) {
	switch {
	case t.prints(first):
	case first.code == 4 && t.name == "login" && !t.issued() && t.result.code != 0:
		return // there is no login, as before
	case first.code == 4, first.code == 0:
		t.judgeLoss(first)
		return
	default:
		t.blame("the next token: exit %d", first.code)
		return
	}
	// Is the refresh token alive, too?
	if err := t.files(func(_ string, content []byte) error {
		if bytes.HasPrefix(content, []byte("age-encryption.org/")) {
			return errSealed
		}
		return nil
	}); errors.Is(err, errSealed) { // its times could not be set
		if o := t.next("setup", "--seal", "none"); o.code != 0 {
			t.blame("setup --seal none: exit %d", o.code)
			return
		}
	}
	t.must(t.passes(life))
	if last := t.next("token"); !t.prints(last) {
		t.judgeLoss(last)
	}
}

var errSealed = errors.New("sealed")

// judgeLoss explains why the next call asks for a sign-in or prints a dead token, or
// blames the program for it.
func (t *trial) judgeLoss(o outcome) {
	what := "a login is lost"
	if o.code == 0 {
		what = "a dead token is printed"
	} else if o.code != 4 {
		t.blame("the token after the next: exit %d", o.code)
		return
	}
	switch {
	case t.stored != "":
		t.blame("%s although %s had it whole", what, t.stored)
	case t.killed() && t.issued():
		t.explained = "killed after the server's act and before the save"
	case t.fault.stays && t.struck != nil && slices.Contains(t.requests, request{issued: true, struck: false}):
		t.explained = "since the server's act nothing could be saved"
	default:
		t.blame("%s without a cause", what)
	}
}

// judgeEnd judges a login that the call should have ended.
func (t *trial) judgeEnd(first outcome) {
	gone := first.code == 4 || first.code == 2 && slices.Contains(t.args, "--forget")
	switch {
	case !t.prints(first) && !gone:
		t.blame("the next token: exit %d", first.code)
	case !gone && t.result.code == 0:
		t.blame("it said that it removed the login, and the next call prints its token")
	}
	again := t.next(t.args...)
	if again.code != 0 && !(again.code == 2 && first.code == 2) {
		t.blame("the same call again: exit %d", again.code)
	}
	if last := t.next("token"); last.code != 4 && last.code != 2 {
		t.blame("after the same call again, token: exit %d", last.code)
	}
}

// judgeWords looks for false statements in what the call said.
func (t *trial) judgeWords(first outcome) {
	changed := t.issued() || t.ends && first.code != 0 || t.explained != ""
	for _, claim := range []struct {
		words string
		false bool
	}{
		{`(?i)(an|the) other (process|machine)|another (process|machine)`, true},
		{`(?i)damaged`, true},
		{`(?i)nothing (was|is) (spent|changed|lost)|untouched`, changed},
		{`(?i)(^|[^f] )exact (has |had )?(just )?(answered|sent)|exact's reply`, len(t.requests) == 0},
		{`(?m)^Signed in as|It stays signed in|are removed from`, t.ends == (first.code == 0)},
	} {
		if said := regexp.MustCompile(claim.words).FindString(t.result.stdout + "\n" + t.result.stderr); said != "" && claim.false {
			t.blame("a message is false: %q", said)
		}
	}
	if strings.Contains(first.stderr, "damaged") {
		t.blame("the next call finds a damaged record")
	}
}

// judgeSecrets looks for secrets in messages and in files that should not have them.
func (t *trial) judgeSecrets() {
	secrets := t.sim.Secrets()
	has := func(text string) bool {
		return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s) })
	}
	for _, o := range append(t.after, t.result) {
		if has(o.stderr) {
			t.blame("%q wrote a secret on stderr", strings.Join(o.args, " "))
		}
	}
	t.must(t.files(func(path string, content []byte) error {
		name, _ := filepath.Rel(t.dir, path)
		signedOut := t.ends && bytes.Contains(content, []byte("refresh_token"))
		if has(string(content)) && (name != "state/default" || signedOut) && !t.killed() {
			t.blame("%s has secrets in it", name)
		}
		return nil
	}))
}
