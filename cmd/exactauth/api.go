package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/term"
)

type apiOptions struct {
	method, input, jq                    string
	headers                              []string
	include, paginate, csv, eachDivision bool
}

func (a *app) apiCmd() *cobra.Command {
	var o apiOptions
	cmd := &cobra.Command{
		Use:   "api PATH",
		Short: "Send a request to Exact's API and print the answer",
		Long: `Sends one request to Exact's REST API with a live token, and prints the answer. PATH is
relative to /api/v1/ or begins with it. {division} in it is the pinned division, or the
current one if none is pinned. The method is GET, or POST with --input.

Exact sends 60 records in an answer. --paginate follows the pages and prints one record
a line, as JSON; --csv does that as CSV, --each-division for all divisions that the user can
open. Records are printed as they come: a list of any length needs little memory.

When the calls of a minute are used up, it waits for the next minute; when those of the day
are, it ends with exit code 5 and says when there are more. A GET is repeated if the answer is 408 or
5xx or is lost, other methods are not: Exact may have carried them out.

The body of an answer is printed even if it is an error; the message is on stderr.
--timeout limits the whole command; without it --paginate, --csv and --each-division have
no limit.`,
		Example: `  exactauth api current/Me --jq .d.results[].FullName
  exactauth api '{division}/read/financial/ReceivablesList' --csv >invoices.csv
  exactauth api '{division}/financial/Journals' --each-division
  exactauth api '{division}/crm/Accounts' --input account.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAPI,
		RunE: func(cmd *cobra.Command, args []string) error {
			limit := defaultTimeout
			if o.lists() {
				limit = 0
			}
			return a.within(cmd.Context(), limit, func(ctx context.Context) error { return a.callAPI(ctx, o, args[0]) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.method, "method", "X", "", "method of the request (default: GET, or POST with --input)")
	f.StringVar(&o.input, "input", "", "`FILE` with the body of the request, or - for standard input")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "header of the request, as \"Prefer: return=representation\"; can be repeated")
	f.BoolVarP(&o.include, "include", "i", false, "print the status and the headers of the answer too")
	f.StringVar(&o.jq, "jq", "", "pass the answer, or each record of a list, through the program jq with this `EXPR`")
	f.BoolVar(&o.paginate, "paginate", false, "follow the pages of a list, one record a line")
	f.BoolVar(&o.csv, "csv", false, "follow the pages of a list and print CSV")
	f.BoolVar(&o.eachDivision, "each-division", false, "follow the pages of the list of each division; records get a Division")
	complete(cmd, "method", "GET", "POST", "PUT", "DELETE")
	return cmd
}

// lists reports whether the answer is read as a list, to its last page.
func (o *apiOptions) lists() bool { return o.paginate || o.csv || o.eachDivision }

const (
	divisionMark = "{division}"
	apiRoot      = "/api/v1/"
)

func (a *app) callAPI(ctx context.Context, o apiOptions, path string) error {
	switch {
	case o.csv && o.jq != "":
		return usagef("--csv and --jq: use one of them")
	case o.lists() && (o.include || o.input != "" || cmp.Or(o.method, http.MethodGet) != http.MethodGet):
		return usagef("--paginate, --csv and --each-division are for a GET without --include and --input")
	case o.eachDivision && !strings.Contains(path, divisionMark):
		return usagef("--each-division: PATH has no %s", divisionMark)
	}
	p, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	req, err := a.apiRequest(ctx, o, p.BaseURL, path)
	if err != nil {
		return err
	}
	if o.jq != "" {
		if err := checkJQ(ctx, o.jq); err != nil {
			return err
		}
	}
	api, end, err := a.api(p, c)
	if err != nil {
		return err
	}
	defer end()
	code := 0
	if strings.Contains(path, divisionMark) {
		if code, err = a.divisionInUse(ctx, p, c); err != nil {
			return err
		}
	}
	out, finish, err := a.openOutput(ctx, o)
	if err != nil {
		return err
	}
	if o.lists() {
		api.HTTP.Timeout = longestPageTime
	}
	switch {
	case o.eachDivision:
		err = a.eachDivision(ctx, api, req, path, code, out)
	case o.lists():
		err = printRecords(ctx, api, req, inDivision(path, code), 0, out)
	default:
		err = a.printAnswer(api, req, inDivision(path, code), o.include, out)
	}
	if err = finish(err); errors.Is(err, syscall.EPIPE) {
		return &reported{128 + int(syscall.SIGPIPE)} // the reader has enough, as head has
	}
	return fault.In(p.Name, err)
}

func inDivision(path string, code int) string {
	return strings.ReplaceAll(path, divisionMark, strconv.Itoa(code))
}

// divisionInUse returns the pinned division, or otherwise the current one.
func (a *app) divisionInUse(ctx context.Context, p config.Settings, c *exactauth.Client) (code int, err error) {
	if p.Division != 0 {
		return p.Division, nil
	}
	me, err := a.me(ctx, c)
	if err == nil && me.Division == 0 {
		err = &hinted{usagef("%s: no division is pinned, and the user has no current one", divisionMark), "pin one: exactauth use --division CODE"}
	}
	return me.Division, err
}

// apiRequest returns the request that the command line describes, for division 0. It has
// passed all checks, so that nothing is sent for a command line that is wrong.
func (a *app) apiRequest(ctx context.Context, o apiOptions, base, path string) (*http.Request, error) {
	u, err := apiAddress(base, inDivision(path, 0))
	if err != nil {
		return nil, err
	}
	method := http.MethodGet
	var body io.Reader
	if o.input != "" {
		method = http.MethodPost
		b, err := a.readInput(ctx, o.input)
		if err != nil {
			return nil, usagef("--input: %w", err)
		}
		body = bytes.NewReader(b)
	}
	method = cmp.Or(strings.ToUpper(o.method), method)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, usagef("--method %q: not a method", o.method)
	}
	req.Header.Set("Accept", "application/json") // the default is Atom XML
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	given := http.Header{}
	for _, header := range o.headers {
		name, value, ok := strings.Cut(header, ":")
		if !ok || name == "" || strings.Trim(name, fault.Alphanumeric+"-_") != "" || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, usagef("--header: want one as \"Name: value\"")
		}
		given.Add(name, strings.TrimSpace(value))
	}
	if given.Get("Authorization") != "" {
		return nil, usagef("--header: Authorization is not yours to set; a live token is added")
	}
	maps.Copy(req.Header, given)
	if refused := exactapi.Check(req, false); refused != nil {
		return nil, usagef("%s", refused.Message)
	}
	return req, nil
}

func (a *app) readInput(ctx context.Context, file string) ([]byte, error) {
	if file == "-" {
		return fault.Await(ctx, func() ([]byte, error) { return io.ReadAll(a.In) })
	}
	return fault.Await(ctx, func() ([]byte, error) { return os.ReadFile(file) }) // it can be a pipe
}

// apiAddress returns the address of a path that a person typed: blanks and other
// characters that an address cannot have are escaped in the query, and escapes are left
// as they are.
func apiAddress(base, path string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if own, ok := strings.CutPrefix(path, base); ok && strings.HasPrefix(own, "/") {
		path = own // an address that Exact sent
	}
	path, query, _ := strings.Cut(path, "?")
	if path == "" || strings.Contains(path, "://") {
		return nil, usagef("PATH %q: want one below /api/v1/; no other server gets a token", path)
	}
	if !strings.HasPrefix(path, "/") {
		path = apiRoot + path
	}
	if u.Path, err = url.PathUnescape(path); err != nil {
		return nil, usagef("PATH: %w", err)
	}
	u.RawPath = path
	if strings.Contains(u.Path, "//") {
		return nil, usagef("PATH %q: has //", path)
	}
	var q strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&q, "%%%02X", c)
		} else {
			q.WriteByte(c)
		}
	}
	u.RawQuery = q.String()
	return u, nil
}

func (a *app) printAnswer(api *exactapi.Client, req *http.Request, path string, include bool, out *output) (err error) {
	if req.URL, err = apiAddress(api.BaseURL, path); err != nil {
		return err
	}
	resp, err := api.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if include {
		text := resp.Proto + " " + resp.Status + "\n"
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			if name != "Set-Cookie" { // a session's secret
				text += name + ": " + strings.Join(resp.Header[name], ", ") + "\n"
			}
		}
		if _, err := io.WriteString(a.Results(), text+"\n"); err != nil {
			return err
		}
	}
	to := out.to
	var start bytes.Buffer // enough to find Exact's words in
	if resp.StatusCode/100 != 2 {
		to = a.Results()
	}
	to = io.MultiWriter(to, &firstBytes{&start})
	n, err := io.Copy(to, resp.Body)
	if n > 0 && err == nil && term.IsTerminal(a.Out) {
		_, err = io.WriteString(to, "\n") // so that what comes next begins a line
	}
	stranger := network.Stranger(resp.StatusCode, resp.Header, start.Bytes())
	switch {
	case err != nil, resp.StatusCode/100 == 2 && (stranger == "" || !strings.HasPrefix(req.URL.Path, apiRoot)): // an attachment can be a page
		return err
	case resp.StatusCode/100 == 2:
		return fault.New(fault.ErrTemporary, "the answer of %s is %s", api.BaseURL, stranger)
	}
	err = exactapi.Refused(resp, start.Bytes())
	if errors.Is(err, fault.ErrTemporary) && resp.StatusCode != http.StatusTooManyRequests && !exactapi.IsRead(req.Method) {
		return fault.Wrap(exactapi.ErrUncertain, errors.New(err.Error()), "%s: Exact may have carried the request out", req.Method)
	}
	return err
}

type firstBytes struct{ kept *bytes.Buffer }

func (f *firstBytes) Write(p []byte) (int, error) {
	const most = 64 << 10
	f.kept.Write(p[:min(len(p), most-f.kept.Len())])
	return len(p), nil
}

// printRecords prints the records of a list, each with its division if that is not 0.
func printRecords(ctx context.Context, api *exactapi.Client, req *http.Request, path string, division int, out *output) error {
	u, err := apiAddress(api.BaseURL, path)
	if err != nil {
		return err
	}
	api.Header = req.Header
	for page, err := range exactapi.Pages[json.RawMessage](ctx, api, u.RequestURI()) {
		if errors.Is(err, exactapi.ErrNoList) {
			return usagef("the answer is not a list; leave --paginate, --csv and --each-division out")
		}
		if err == nil {
			err = out.print(page, division)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachDivision prints the records of a list of each division that the user can open. A
// division that refuses is left out, and is an error at the end; other errors end it.
func (a *app) eachDivision(ctx context.Context, api *exactapi.Client, req *http.Request, path string, current int, out *output) error {
	all, failed := 0, 0
	var first error
	for d, err := range exactapi.Divisions(ctx, api, current) {
		if err != nil {
			return err
		}
		all++
		if err = printRecords(ctx, api, req, inDivision(path, d.Code), d.Code, out); err == nil {
			continue
		}
		err = fmt.Errorf("division %d: %w", d.Code, err)
		refused := (*fault.ServerError)(nil)
		if !errors.Is(err, fault.ErrForbidden) && !(errors.As(err, &refused) && refused.Status == http.StatusNotFound) {
			return err
		}
		a.Note(err.Error())
		failed++
		first = cmp.Or(first, err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d divisions are left out; the first is %w", failed, all, first)
	}
	return nil
}

// api returns a client of Exact's API that adds a live token to each request, keeps
// Exact's limits and repeats a GET. end waits for a refresh that is under way.
func (a *app) api(p config.Settings, c *exactauth.Client) (api *exactapi.Client, end func(), err error) {
	source := &tokenSource{app: a, client: c}
	t, err := exactapi.NewTransport(exactapi.TransportConfig{BaseURL: p.BaseURL, Token: source.token, Agent: agent(), Repeat: true, Waiting: a.waitingForExact()})
	if err != nil {
		return nil, nil, err
	}
	api = t.Client()
	api.Log = a.logger()
	return api, t.Close, nil
}

// waitingForExact shows, on a terminal, that the program waits for an answer or a limit.
// Elsewhere it says once that it waits for a limit: a job can wait in every minute.
func (a *app) waitingForExact() func(ctx context.Context, until time.Time) (over func()) {
	var said sync.Once
	return func(ctx context.Context, until time.Time) (over func()) {
		spins := a.Spins()
		switch {
		case until.IsZero() && spins:
			end, _ := ctx.Deadline()
			return fault.Announce(ctx, 400*time.Millisecond, func(ctx context.Context) (over func()) { return a.Spin(ctx, "asking Exact", end) })
		case until.IsZero():
			return func() {}
		}
		what := "waiting for the limit until " + until.Local().Format("15:04:05")
		if !spins {
			said.Do(func() { a.Say("exactauth: %s", what) })
		}
		return a.Spin(ctx, what, until)
	}
}
