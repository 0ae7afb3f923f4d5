package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
)

const (
	clientID = exactsim.ClientID
	annaID   = exactsim.AnnaID

	// patience is how long something that must happen is waited for.
	patience = 30 * time.Second
)

// world is what surrounds the program in one script.
type world struct {
	work, state, redirect string

	sim    *exactsim.Sim
	server *httptest.Server
	app    exactsim.App
	users  map[string]exactsim.User
	base   exactsim.Counters // what "sim count" counts from

	sims      []*exactsim.Sim // all there were, for their secrets
	tenants   []*auth0sim.Sim // likewise
	seen      int             // requests to the last of them that "tenant writes" has counted
	t         *testing.T
	database  *database
	passwords []string // of databases
	keyring   *keyring
	servers   []*httptest.Server
	allowed   []string // files that may hold secrets, by allow-secrets
	allowAll  bool
	fileLeaks []string
	unnamed   []string // requests; by eventsMu
	snapshots map[string]map[string]string
	held      map[string]func() // what "hold" has locked

	eventsMu sync.Mutex
	events   []exactsim.Event
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

type simOptions struct {
	exactsim.Config
	pages bool
}

// begin starts a fresh simulator with the cast.
func (w *world) begin(o simOptions) error {
	o.AutoApprove = !o.pages
	w.eventsMu.Lock() // a request to the simulator before may not have ended
	w.events = nil
	w.eventsMu.Unlock()
	o.Observe = func(_ *http.Request, e exactsim.Event) {
		w.eventsMu.Lock()
		defer w.eventsMu.Unlock()
		w.events = append(w.events, e)
	}
	w.sim = exactsim.New(o.Config)
	cast := w.sim.AddCast(w.redirect)
	cast.Anna.Divisions[1].Status = 2 // archived
	w.app, w.users = cast.App, map[string]exactsim.User{"anna": cast.Anna, "bob": cast.Bob}
	w.sim.AddUser(cast.Anna)
	w.server = httptest.NewServer(w.named(withLists(w.sim)))
	w.base = exactsim.Counters{}
	w.sims, w.servers = append(w.sims, w.sim), append(w.servers, w.server)
	return w.writeSecret()
}

// writeSecret writes the app's client secret to the file "secret".
func (w *world) writeSecret() error {
	return os.WriteFile(filepath.Join(w.work, "secret"), []byte(w.app.ClientSecret+"\n"), 0o600)
}

func (w *world) close() {
	for _, s := range w.servers {
		s.CloseClientConnections()
		s.Close()
	}
}

func (w *world) record(name string) string { return filepath.Join(w.state, name) }

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"sim":           cmdSim,
	"ready":         cmdReady,
	"age":           cmdAge,
	"exits":         cmdExits,
	"poll":          cmdPoll,
	"signal":        cmdSignal,
	"gone":          cmdGone,
	"ended":         cmdEnded,
	"ended-within":  cmdEndedWithin,
	"type":          cmdType,
	"screen":        cmdScreen,
	"modes":         cmdModes,
	"fields":        cmdFields,
	"value":         cmdValue,
	"remember":      cmdRemember,
	"unchanged":     cmdUnchanged,
	"empty":         cmdEmpty,
	"empty-file":    cmdEmptyFile,
	"mode":          cmdMode,
	"private":       cmdPrivate,
	"open-up":       cmdOpenUp,
	"shut":          cmdShut,
	"capture":       cmdCapture,
	"from-page":     cmdFromPage,
	"write":         cmdWrite,
	"append":        cmdAppend,
	"edit":          cmdEdit,
	"pause":         cmdPause,
	"cancel":        cmdCancel,
	"allow-secrets": cmdAllowSecrets,
	"tmpfs":         cmdTmpfs,
	"fill":          cmdFill,
	"tls-server":    cmdTLSServer,
	"outer-proxy":   cmdOuterProxy,
	"portal":        cmdPortal,
	"moved":         cmdMoved,
	"tenant":        cmdTenant,
	"postgres":      cmdPostgres,
	"keyring":       cmdKeyring,
	"key-file":      cmdKeyFile,
	"unseal":        cmdUnseal,
	"forge":         cmdForge,
	"clean":         cmdClean,
	"current":       cmdCurrent,
	"lives":         cmdLives,
	"moves":         cmdMoves,
	"hold":          cmdHold,
}

// cmdSim acts on the script's simulator.
func cmdSim(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: sim VERB [ARG...]")
	}
	w := worldOf(ts)
	verb, args := args[0], args[1:]
	want := func(n int) {
		if len(args) != n {
			ts.Fatalf("sim %s: want %d arguments", verb, n)
		}
	}
	switch verb {
	case "new":
		w.simNew(ts, args)
	case "fault":
		w.simFault(ts, args)
	case "clear":
		w.sim.ClearFaults()
	case "mark": // count from here
		w.base = w.sim.Counters()
	case "count": // NAME N ...
		for len(args) >= 2 {
			got := counter(ts, w.sim.Counters(), args[0]) - counter(ts, w.base, args[0])
			if strconv.Itoa(got) != args[1] {
				w.eventsMu.Lock()
				defer w.eventsMu.Unlock()
				ts.Fatalf("%s is %d, want %s; events: %+v", args[0], got, args[1], w.events)
			}
			args = args[2:]
		}
		want(0)
	case "wait": // NAME N: until it is reached
		want(2)
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		pollUntil(ts, func() error {
			if got := counter(ts, w.sim.Counters(), args[0]) - counter(ts, w.base, args[0]); got < n {
				return fmt.Errorf("%s is %d, want %d", args[0], got, n)
			}
			return nil
		})
	case "minute": // the time left of it
		want(1)
		left, err := time.ParseDuration(args[0])
		ts.Check(err)
		now := time.Now()
		w.sim.Advance(now.UTC().Truncate(time.Minute).Add(time.Minute - left).Sub(now))
	case "revoke":
		w.sim.Revoke(clientID, annaID)
	case "user":
		w.simUser(ts, args)
	case "app":
		w.simApp(ts, args)
	case "clock":
		want(1)
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		w.sim.Advance(d)
	case "login-elsewhere": // [FILE]: the answer goes there
		w.loginElsewhere(ts, args)
	case "code": // FILE: a code as if somebody had signed in elsewhere
		want(1)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(w.sim.NewCode(w.app.ClientID, annaID, w.app.RedirectURI)+"\n"), 0o600))
		w.allowed = append(w.allowed, ts.MkAbs(args[0]))
	case "live": // FILE: whether its first line is a token that works
		want(1)
		line, _, _ := strings.Cut(ts.ReadFile(args[0]), "\n")
		if got := w.sim.AccessTokenLive(line); got == neg {
			ts.Fatalf("token %.30q: live is %v", line, got)
		}
	case "refresh-token": // PROFILE STATE: what the one in the record is good for
		want(2)
		rec := readRecord(ts, w.record(args[0]))
		if got := string(w.sim.RefreshTokenState(rec.Refresh.Reveal())); got != args[1] {
			ts.Fatalf("the refresh token in the record is %s, want %s", got, args[1])
		}
	case "gone": // nothing listens there any more
		w.server.CloseClientConnections()
		w.server.Close()
	default:
		ts.Fatalf("unknown: sim %s", verb)
	}
}

func (w *world) simNew(ts *testscript.TestScript, args []string) {
	var o simOptions
	f := flag.NewFlagSet("sim new", flag.PanicOnError)
	f.DurationVar(&o.TokenLife, "life", 0, "")
	f.BoolVar(&o.pages, "pages", false, "")
	f.BoolVar(&o.TooEarlyIs401, "401", false, "")
	f.BoolVar(&o.TooEarlyFirst, "early-first", false, "")
	f.IntVar(&o.MinuteLimit, "minute-limit", 0, "")
	f.IntVar(&o.DailyLimit, "daily-limit", 0, "")
	f.StringVar(&o.Region, "region", "", "")
	grace := f.Bool("grace", false, "")
	ts.Check(f.Parse(args))
	if *grace {
		o.Rotation = exactsim.Grace
	}
	ts.Check(w.begin(o))
	ts.Setenv("SIM", w.server.URL)
}

func (w *world) simFault(ts *testscript.TestScript, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: sim fault KIND [FLAG...]")
	}
	x := exactsim.Fault{Kind: exactsim.FaultKind(args[0])}
	f := flag.NewFlagSet("sim fault", flag.PanicOnError)
	on := f.String("on", "token", "")
	f.IntVar(&x.Times, "times", 0, "")
	f.BoolVar(&x.Commit, "commit", false, "")
	f.DurationVar(&x.Delay, "delay", 0, "")
	f.IntVar(&x.Status, "status", 0, "")
	f.StringVar(&x.RetryAfter, "retry-after", "", "")
	f.StringVar(&x.Reason, "reason", "", "")
	f.StringVar(&x.Body, "body", "", "")
	ts.Check(f.Parse(args[1:]))
	x.On = exactsim.Endpoint(*on)
	w.sim.Inject(x)
}

func counter(ts *testscript.TestScript, c exactsim.Counters, name string) int {
	v := reflect.ValueOf(c).FieldByName(name)
	if !v.IsValid() {
		ts.Fatalf("there is no counter %s", name)
	}
	return int(v.Int())
}

// simUser: sim user anna|bob [-inactive] [-active] [-division N] [-many N] [-company NAME] signs this user in from now on.
func (w *world) simUser(ts *testscript.TestScript, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: sim user NAME [FLAG...]")
	}
	u, ok := w.users[args[0]]
	if !ok {
		ts.Fatalf("unknown user %q", args[0])
	}
	f := flag.NewFlagSet("sim user", flag.PanicOnError)
	f.BoolVar(&u.Inactive, "inactive", false, "")
	f.IntVar(&u.CurrentDivision, "division", u.CurrentDivision, "")
	f.StringVar(&u.FullName, "name", u.FullName, "")
	many := f.Int("many", 0, "")
	company := f.String("company", "", "")
	ts.Check(f.Parse(args[1:]))
	if *company != "" {
		u.Divisions = append(u.Divisions, exactsim.Division{Code: 300001 + len(u.Divisions), Description: *company, CustomerName: "Voorbeeld Groep", HID: int64(1000 + len(u.Divisions)), Status: 1})
	}
	u.FullName = unescape(ts, u.FullName)
	u.Divisions = append(u.Divisions, exactsim.Divisions(*many + 2)[2:]...)
	w.users[args[0]] = u
	w.sim.AddUser(u)
	w.sim.SetAutoApproveUser(u.ID)
}

func (w *world) simApp(ts *testscript.TestScript, args []string) {
	f := flag.NewFlagSet("sim app", flag.PanicOnError)
	newSecret := f.Bool("new-secret", false, "")
	f.StringVar(&w.app.RedirectURI, "redirect", w.app.RedirectURI, "")
	f.BoolVar(&w.app.NoDivisionScope, "no-division-scope", w.app.NoDivisionScope, "")
	f.StringVar(&w.app.ClientID, "id", w.app.ClientID, "")
	remove := f.Bool("remove", false, "")
	ts.Check(f.Parse(args))
	if *newSecret {
		w.app.ClientSecret = rand.Text()[:12]
		ts.Check(w.writeSecret())
	}
	if *remove {
		w.sim.RemoveApp(clientID)
		return
	}
	w.sim.AddApp(w.app)
}

// loginElsewhere signs the same app and user in on another machine, which at
// Exact ends the login here.
func (w *world) loginElsewhere(ts *testscript.TestScript, files []string) {
	resp, err := (&http.Client{Transport: network.New("another machine")}).PostForm(w.server.URL+"/api/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientID}, "client_secret": {w.app.ClientSecret},
		"redirect_uri": {w.app.RedirectURI}, "code": {w.sim.NewCode(w.app.ClientID, annaID, w.app.RedirectURI)},
	})
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("login elsewhere: %s", resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	for _, file := range files {
		ts.Check(os.WriteFile(ts.MkAbs(file), body, 0o600))
		w.allowed = append(w.allowed, ts.MkAbs(file))
	}
	w.base.TokenRequests++
	w.base.Exchanges++
	w.base.ExchangesIssued++
}

// cmdReady sets a profile up and signs it in, with the program itself.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	name := "default"
	if len(args) > 0 {
		name = args[0]
	}
	ts.Check(ts.Exec("exactauth", "setup", "-p", name, "--base-url", w.server.URL, "--client-id", clientID,
		"--redirect-uri", w.redirect, "--client-secret-file", filepath.Join(w.work, "secret")))
	ts.Check(ts.Exec("exactauth", "login", "-p", name))
	w.base = w.sim.Counters()
}

// cmdAge makes all records, and the simulator, older: as if the time had passed.
func cmdAge(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: age DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	w := worldOf(ts)
	w.sim.Advance(d)
	entries, err := os.ReadDir(w.state)
	ts.Check(err)
	for _, e := range entries {
		if strings.Contains(e.Name(), ".") {
			continue // locks and certificates
		}
		b, err := os.ReadFile(w.record(e.Name()))
		ts.Check(err)
		ts.Check(os.WriteFile(w.record(e.Name()), older(ts, b, d), 0o600))
	}
}

// moment is a line of a record with a time in it. The server's date is by another clock.
var moment = regexp.MustCompile(`(?m)^(\w+_at) (.+)$`)

// older returns the record with its times moved back.
func older(ts *testscript.TestScript, b []byte, by time.Duration) []byte {
	return moment.ReplaceAllFunc(b, func(line []byte) []byte {
		key, value, _ := strings.Cut(string(line), " ")
		t, err := time.Parse(time.RFC3339Nano, value)
		ts.Check(err)
		return []byte(key + " " + t.Add(-by).Format(time.RFC3339Nano))
	})
}

func readRecord(ts *testscript.TestScript, path string) *record.Record {
	b, err := os.ReadFile(path)
	ts.Check(err)
	rec, err := record.Decode(b)
	ts.Check(err)
	return rec
}

// cmdExits: exits N[|N...] CMD [ARG...] runs a command that must end with exit code N, or one of them.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: exits N CMD [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code, ok := exitOf(err)
	if !ok {
		ts.Fatalf("%s could not be run: %v", args[1], err)
	}
	if !slices.Contains(strings.Split(args[0], "|"), strconv.Itoa(code)) {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// pollUntil polls for a condition, which must come true.
func pollUntil(ts *testscript.TestScript, ok func() error) {
	end := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cmdPoll: poll FILE REGEXP waits until the file has it.
func cmdPoll(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: poll FILE REGEXP")
	}
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	pollUntil(ts, func() error {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		if want.Match(b) == neg {
			return fmt.Errorf("%s: match of %s is %v:\n%s", args[0], args[1], !neg, b)
		}
		return nil
	})
}

var signals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "ABRT": syscall.SIGABRT, "SEGV": syscall.SIGSEGV}

// cmdSignal: signal NAME SIGNAL [again] signals what "as NAME" runs, once or
// until it has ended.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: signal NAME SIGNAL [again]")
	}
	var pid int
	pollUntil(ts, func() (err error) {
		b, err := os.ReadFile(ts.MkAbs(args[0] + ".pid"))
		if err == nil {
			pid, err = strconv.Atoi(string(b))
		}
		return err
	})
	p, err := os.FindProcess(pid)
	ts.Check(err)
	send := func() error { return p.Signal(signals[args[1]]) }
	switch {
	case args[1] == "KILL":
		send = func() error { return kill(p) }
	case runtime.GOOS == "windows":
		send = func() error { return appendTo(ts.MkAbs(args[0]+".keys"), args[1]+"\n") }
	}
	ts.Check(send())
	if len(args) == 3 {
		pollUntil(ts, func() error {
			if _, err := os.Stat(ts.MkAbs(args[0] + ".exit")); err == nil {
				return nil
			}
			_ = send() // it may have ended
			time.Sleep(50 * time.Millisecond)
			return errors.New("it still runs")
		})
	}
}

// cmdEnded: ended NAME N waits for what "as NAME" runs to end with exit code N.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: ended NAME N")
	}
	var got string
	pollUntil(ts, func() error {
		b, err := os.ReadFile(ts.MkAbs(args[0] + ".exit"))
		got = string(b)
		return err
	})
	if got != args[1] {
		errText, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Fatalf("%s ended with %s, want %s; stderr:\n%s", args[0], got, args[1], errText)
	}
}

// cmdEndedWithin: ended-within NAME N DURATION is "ended" with less patience,
// for what would end in any case, but later.
func cmdEndedWithin(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: ended-within NAME N DURATION")
	}
	d, err := time.ParseDuration(args[2])
	ts.Check(err)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0] + ".exit")); err == nil {
			cmdEnded(ts, false, args[:2])
			return
		}
	}
	ts.Fatalf("%s has not ended within %s", args[0], d)
}

// cmdGone: gone FILE waits, on Windows, until the process whose id the file ends with is
// no more.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	_, id, _ := strings.Cut(strings.TrimSpace(ts.ReadFile(args[0])), " ")
	pid, err := strconv.Atoi(id)
	ts.Check(err)
	pollUntil(ts, func() error {
		p, err := os.FindProcess(pid)
		if err != nil {
			return nil
		}
		return errors.Join(fmt.Errorf("process %d runs", pid), p.Release())
	})
}

// cmdType: type NAME FILE writes the file's text to the standard input of what
// "as NAME" runs.
func cmdType(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: type NAME FILE")
	}
	ts.Check(appendTo(ts.MkAbs(args[0]+".in"), ts.ReadFile(args[1])))
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// dig finds a value by its path, as profiles.0.signed_in.
func dig(v any, path string) (any, bool) {
	if path == "" || path == "." {
		return v, true
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func readJSON(ts *testscript.TestScript, file string) any {
	var v any
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("%s is not JSON: %v", file, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		ts.Fatalf("%s holds more than one JSON value", file)
	}
	return v
}

// cmdFields: fields FILE PATH NAME... means that the object there has these fields and no others.
func cmdFields(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: fields FILE PATH NAME...")
	}
	v, _ := dig(readJSON(ts, args[0]), args[1])
	m, ok := v.(map[string]any)
	if !ok {
		ts.Fatalf("%s: %s is no object", args[0], args[1])
	}
	got, want := []string{}, slices.Clone(args[2:])
	for name := range m {
		got = append(got, name)
	}
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		ts.Fatalf("%s: %s has fields %v, want %v", args[0], args[1], got, want)
	}
}

// cmdValue: value FILE PATH REGEXP matches the whole of a value in a JSON file.
func cmdValue(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: value FILE PATH REGEXP")
	}
	v, ok := dig(readJSON(ts, args[0]), args[1])
	got := fmt.Sprint(v)
	if matched := ok && regexp.MustCompile("^(?s:"+args[2]+")$").MatchString(got); matched == neg {
		ts.Fatalf("%s: %s is %q (found: %v), want %s", args[0], args[1], got, ok, args[2])
	}
}

// look describes every file below a directory or a file itself.
func look(ts *testscript.TestScript, root string) map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s %s %s", info.Mode(), info.ModTime().Format(time.RFC3339Nano), inode(info))
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", b)
		}
		all[path] = text
		return nil
	})
	ts.Check(err)
	return all
}

// cmdRemember: remember NAME PATH notes all files there: content, time, inode.
func cmdRemember(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: remember NAME PATH")
	}
	w := worldOf(ts)
	if w.snapshots == nil {
		w.snapshots = map[string]map[string]string{}
	}
	w.snapshots[args[0]] = look(ts, ts.MkAbs(args[1]))
}

// cmdUnchanged: unchanged NAME PATH means that nothing was written there since.
func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: unchanged NAME PATH")
	}
	before, after := worldOf(ts).snapshots[args[0]], look(ts, ts.MkAbs(args[1]))
	if reflect.DeepEqual(before, after) == neg {
		for path := range after {
			if before[path] != after[path] {
				ts.Logf("%s\n  was %.300s\n  is  %.300s", path, before[path], after[path])
			}
		}
		ts.Fatalf("%s: unchanged is %v", args[1], neg)
	}
}

// cmdEmpty: empty DIR means that it has no files.
func cmdEmpty(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(ts.MkAbs(dir))
		ts.Check(err)
		if (len(entries) == 0) == neg {
			ts.Fatalf("%s has %v", dir, entries)
		}
	}
}

// cmdMode: mode OCTAL PATH...
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	for _, path := range args[1:] {
		info, err := os.Stat(ts.MkAbs(path))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", path, got, args[0])
		}
	}
}

// cmdPrivate: private PATH... means that the user alone may read these files and directories, beside the system
// and its administrators; private -make PATH... makes them so.
func cmdPrivate(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: private [-make] PATH...")
	}
	act := checkPrivate
	if args[0] == "-make" {
		act, args = makePrivate, args[1:]
	}
	for _, path := range args {
		if err := act(ts.MkAbs(path)); (err == nil) == neg {
			ts.Fatalf("%s: %v", path, err)
		}
	}
}

// cmdOpenUp: open-up read|change PATH... lets all users of this machine read these files and directories, or change
// them.
func cmdOpenUp(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || args[0] != "read" && args[0] != "change" {
		ts.Fatalf("usage: open-up read|change PATH...")
	}
	for _, path := range args[1:] {
		ts.Check(openUp(ts.MkAbs(path), args[0] == "change"))
	}
}

// cmdShut: shut FILE opens a file as a virus scanner on Windows does, so that no other process can open it, until the
// script is over.
func cmdShut(ts *testscript.TestScript, neg bool, args []string) {
	f, err := shut(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { f.Close() })
}

// cmdCapture: capture NAME FILE REGEXP sets a variable to what the first group of the expression matches in the file, or
// to the whole match.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: capture NAME FILE REGEXP")
	}
	what, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	found := what.FindStringSubmatch(ts.ReadFile(args[1]))
	if found == nil {
		ts.Fatalf("%s has no match for %s", args[1], args[2])
	}
	ts.Setenv(args[0], found[len(found)-1])
}

// cmdFromPage: from-page PAGE TEXT FILE writes the block of a page in docs that begins with TEXT to FILE, with Windows'
// line ends.
func cmdFromPage(ts *testscript.TestScript, neg bool, args []string) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", args[0]))
	ts.Check(err)
	_, block, found := strings.Cut(string(page), "\n"+args[1])
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !ended {
		ts.Fatalf("%s has no block that begins with %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(args[1]+block+"\n", "\n", "\r\n")), 0o600))
}

// cmdWrite: write FILE TEXT, with \n, \t and \x as Go has them. The file is private.
func cmdWrite(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: write FILE TEXT")
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	ts.Check(os.WriteFile(file, []byte(goText(ts, args[1])), 0o600))
}

// cmdAppend: append FILE TEXT, as write has it.
func cmdAppend(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: append FILE TEXT")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = io.WriteString(f, goText(ts, args[1]))
	ts.Check(errors.Join(err, f.Close()))
}

func goText(ts *testscript.TestScript, s string) string {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	ts.Check(err)
	return text
}

// cmdEdit: edit FILE REGEXP TEXT puts the text, as write has it, in the place of each match. The file stays the same one.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: edit FILE REGEXP TEXT")
	}
	what, err := regexp.Compile(args[1])
	ts.Check(err)
	before := ts.ReadFile(args[0])
	if !what.MatchString(before) {
		ts.Fatalf("%s has no match for %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(what.ReplaceAllString(before, goText(ts, args[2]))), 0o600))
}

// cmdPause: pause DURATION, where time itself is what is tested.
func cmdPause(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: pause DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// cmdCancel: cancel NAME ends what "as NAME" runs, where it does not matter how: by Ctrl-C, and where that cannot be
// sent, by force.
func cmdCancel(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: cancel NAME")
	}
	if runtime.GOOS == "windows" {
		cmdSignal(ts, false, []string{args[0], "KILL"})
		cmdEnded(ts, false, []string{args[0], "137"})
		return
	}
	cmdSignal(ts, false, []string{args[0], "INT"})
	cmdEnded(ts, false, []string{args[0], "130"})
}

// cmdFill: fill DIR leaves no room on its file system.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.OpenFile(filepath.Join(ts.MkAbs(args[0]), "filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				ts.Check(err)
			}
			size /= 2
		}
	}
}

// cmdEmptyFile: empty-file FILE...
func cmdEmptyFile(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		if text := ts.ReadFile(file); (text == "") == neg {
			ts.Fatalf("%s has %q", file, text)
		}
	}
}

// cmdHold: hold FILE locks a file, as another process would, until the script is over; hold -end FILE lets go before.
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 2 && args[0] == "-end" {
		w.held[args[1]]()
		return
	}
	if len(args) != 1 {
		ts.Fatalf("usage: hold [-end] FILE")
	}
	path := ts.MkAbs(args[0])
	root, err := os.OpenRoot(filepath.Dir(path))
	ts.Check(err)
	defer root.Close()
	unlock, err := durable.Lock(context.Background(), root, filepath.Base(path))
	ts.Check(err)
	unlock = sync.OnceFunc(unlock)
	ts.Defer(unlock)
	if w.held == nil {
		w.held = map[string]func(){}
	}
	w.held[args[0]] = unlock
}
