package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
)

const (
	managerID = "mGr1mGr1mGr1mGr1mGr1mGr1mGr1mGr1"
	webID     = "wEb1wEb1wEb1wEb1wEb1wEb1wEb1wEb1" // an app with a secret
	nativeID  = "nAt1nAt1nAt1nAt1nAt1nAt1nAt1nAt1" // one without
)

// allScopes are the scopes of a manager unless a script sets others.
const allScopes = "read:connections read:connections_options create:connections update:connections update:connections_options " +
	"read:clients update:clients read:logs read:custom_domains"

// cmdTenant acts on the script's Auth0 tenant. "tenant new" creates one with the apps
// Web and Native, and sets AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET; the
// secret of Web is in the file app-secret.
func cmdTenant(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: tenant VERB [ARG...]")
	}
	w := worldOf(ts)
	verb, args := args[0], args[1:]
	if verb == "new" {
		w.newTenant(ts)
		return
	}
	t := w.tenants[len(w.tenants)-1]
	switch verb {
	case "scopes": // [SCOPE...]: of the manager; none at all is no grant
		t.SetManager(managerID, args...)
	case "api-token": // [SCOPE...]
		ts.Setenv("AUTH0_API_TOKEN", t.APIToken(args...))
	case "connection": // NAME OPTIONS [CLIENT...]: as somebody made it before; a secret "@" is the script's
		var options map[string]any
		ts.Check(json.Unmarshal([]byte(args[1]), &options))
		if options["client_secret"] == "@" {
			options["client_secret"] = w.app.ClientSecret
		}
		t.AddConnection(args[0], options, args[2:]...)
	case "domain": // NAME STATUS
		t.AddDomain(args[0], args[1])
	case "app": // CLIENT NAME CALLBACK...
		t.AddApp(unescape(ts, args[0]), args[1], true, args[2:]...)
	case "log": // TYPE NAME DESCRIPTION
		t.AddLog(map[string]any{"date": "2026-10-28T16:15:50.000Z", "type": args[0], "connection": "exact", "strategy": "exact",
			"user_name": args[1], "client_name": "Web", "description": unescape(ts, args[2])})
	case "disable":
		t.Disable(args[0])
	case "limit": // N DURATION
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		t.Limit(n, d)
	case "lie": // [LIE]
		t.SetLie(auth0sim.Lie(strings.Join(args, "")))
	case "claims": // JSON: changes in tokens; null removes a claim
		var changed map[string]any
		ts.Check(json.Unmarshal([]byte(args[0]), &changed))
		t.SetClaims(changed)
	case "refuse": // [CODE DESCRIPTION]
		r := auth0sim.Refusal{}
		if len(args) == 2 {
			r = auth0sim.Refusal{Code: args[0], Description: unescape(ts, args[1])}
		}
		t.Refuse(r)
	case "has": // NAME PATH REGEXP: the connection as it is there
		shown, _ := json.Marshal(t.Connection(args[0]))
		var v any
		ts.Check(json.Unmarshal(shown, &v))
		value, ok := dig(v, args[1])
		if matched := ok && regexp.MustCompile("^(?s:"+args[2]+")$").MatchString(fmt.Sprint(value)); matched == neg {
			ts.Fatalf("connection %s: %s is %q (found: %v), want %s", args[0], args[1], fmt.Sprint(value), ok, args[2])
		}
	case "secret": // NAME FILE: the connection has the secret of that file
		o, _ := t.Connection(args[0])["options"].(map[string]any)
		if o["client_secret"] != strings.TrimSpace(ts.ReadFile(args[1])) {
			ts.Fatalf("connection %s has another client secret", args[0])
		}
	case "callbacks": // CLIENT CALLBACK...
		if got, want := fmt.Sprint(t.Callbacks(args[0])), fmt.Sprint(args[1:]); got != want {
			ts.Fatalf("callbacks are %s, want %s", got, want)
		}
	case "writes": // N: requests that change something, since the last look
		n := 0
		requests := t.Requests()
		for _, r := range requests[w.seen:] {
			if !strings.HasPrefix(r, "GET ") && r != "POST /oauth/token" {
				n++
			}
		}
		if strconv.Itoa(n) != args[0] {
			ts.Fatalf("%d writes, want %s: %v", n, args[0], requests[w.seen:])
		}
		w.seen = len(requests)
	default:
		ts.Fatalf("unknown: tenant %s", verb)
	}
}

// unescape replaces escapes such as \x1b as Go does.
func unescape(ts *testscript.TestScript, text string) string {
	plain, err := strconv.Unquote(`"` + text + `"`)
	ts.Check(err)
	return plain
}

func (w *world) newTenant(ts *testscript.TestScript) {
	t := auth0sim.New(nil)
	server := httptest.NewServer(w.named(t))
	t.SetOrigin(server.URL)
	w.tenants, w.servers, w.seen = append(w.tenants, t), append(w.servers, server), 0
	ts.Setenv("AUTH0_DOMAIN", server.URL)
	ts.Setenv("AUTH0_CLIENT_ID", managerID)
	ts.Setenv("AUTH0_CLIENT_SECRET", t.SetManager(managerID, strings.Fields(allScopes)...))
	callback := "https://web.example/callback"
	ts.Check(os.WriteFile(filepath.Join(w.work, "app-secret"), []byte(t.AddApp(webID, "Web", false, callback)+"\n"), 0o600))
	w.allowed = append(w.allowed, filepath.Join(w.work, "app-secret"))
	t.AddApp(nativeID, "Native", true, callback)
	ts.Setenv("WEB", webID)
	ts.Setenv("NATIVE", nativeID)
	ts.Setenv("MANAGER", managerID)
	ts.Setenv("CUSTOM", strings.Replace(server.URL, "127.0.0.1", "localhost", 1)) // another name of the same place
	ts.Setenv("CALLBACK", strings.TrimSuffix(w.redirect, "/callback")+"/auth0")
}
