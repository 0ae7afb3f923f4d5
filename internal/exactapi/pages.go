package exactapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
)

// ErrUncertain is the kind of an error after which Exact may or may not have carried
// out the request. A caller must not send the request again by itself.
var ErrUncertain = errors.New("not known whether Exact carried it out")

// ErrNoList is the kind of an error for an answer of Records that is no collection.
var ErrNoList = fault.Kind(fault.ErrTemporary, "not a list")

// errLost is wrapped by the error of an answer that broke off.
var errLost = errors.New("the answer broke off")

// Client sends requests to one server's REST API, and a token to no other server.
type Client struct {
	BaseURL string       // scheme and host, as "https://start.exactonline.nl"
	HTTP    *http.Client // its cookies and redirects are not used
	Token   fault.Secret // sent with each request; zero if HTTP's transport adds a token
	Header  http.Header  // further headers of the requests of Records; optional
	Log     *slog.Logger // gets one line for each answer, at level Debug; optional

	pauses []time.Duration // before each repetition of a page whose answer broke off
	gate   *gate           // of HTTP's transport; nil if that is another one
}

// Left returns the calls that Exact allows on a division for the rest of the minute and
// of the day, as its last answer to a [Transport] said; -1 if that is not known.
func (c *Client) Left(division int) (minute, day int) {
	if c.gate == nil {
		return -1, -1
	}
	return c.gate.left(strconv.Itoa(division))
}

// Do sends a request, follows no redirect, and returns the answer whatever its
// status. The error, also that of reading the body, is the cause of the context's end
// if that was cancelled, what a [Transport] decided (a *Refusal, an error of its token
// source), an ErrUncertain for a request that changes data and was sent, or a
// fault.ErrTemporary; it does not contain the address, whose query can hold names.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if !below(c.BaseURL, req.URL) {
		return nil, fault.New(fault.ErrTemporary, "an address that is not below %s is not followed", c.BaseURL)
	}
	if !c.Token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
	plain := &http.Client{
		Transport:     c.HTTP.Transport,
		Timeout:       c.HTTP.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var sent atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	resp, err := plain.Do(req.WithContext(ctx))
	if err != nil {
		return nil, c.failed(req, err, sent.Load(), "cannot reach "+c.BaseURL)
	}
	if c.Log != nil {
		c.Log.Debug("asked the API", "method", req.Method, "path", req.URL.Path, "status", resp.StatusCode)
	}
	resp.Body = &answerBody{resp.Body, func(err error) error {
		if err = c.failed(req, err, true, "the answer of "+c.BaseURL+" broke off"); ctx.Err() == nil {
			err = fault.With(err, errLost)
		}
		return err
	}}
	return resp, nil
}

func (c *Client) failed(req *http.Request, err error, sent bool, what string) error {
	var refusal *Refusal
	var source sourceError
	switch ctx := req.Context(); {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &source):
		return source.error
	case sent && !IsRead(req.Method):
		return fault.Wrap(ErrUncertain, network.Explain(err), "%s: the connection was lost before the whole answer came; Exact may have carried the request out", req.Method)
	}
	return fault.Wrap(fault.ErrTemporary, network.Explain(err), "%s", what)
}

// answerBody is an answer's body whose errors are those of a Client.
type answerBody struct {
	io.ReadCloser
	failed func(error) error
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.failed(err)
	}
	return n, err
}

// Records returns the records of a collection of the API, page after page: a page
// has 60 records and the address of the next page (Exact KB "REST API -
// Restrictions"). A page is requested when the records before it have been
// consumed, so one page at a time is in memory. The first error ends the iteration.
func Records[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range Pages[T](ctx, c, path) {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, record := range page {
				if !yield(record, nil) {
					return
				}
			}
		}
	}
}

// Pages is Records for a caller that works on a page at a time.
func Pages[T any](ctx context.Context, c *Client, path string) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		seen := map[string]bool{}
		for next := c.BaseURL + path; next != ""; {
			if seen[next] {
				yield(nil, fault.New(fault.ErrTemporary, "the pages that %s sends never end: a page links to an earlier one", c.BaseURL))
				return
			}
			seen[next] = true
			page, link, err := readPage[T](ctx, c, next)
			if !yield(page, err) || err != nil {
				return
			}
			next = link
		}
	}
}

// largestPage bounds the body of one page, in bytes.
const largestPage = 64 << 20

// get returns an answer with its whole body, and requests it again if it breaks off.
func (c *Client) get(req *http.Request) (resp *http.Response, body []byte, err error) {
	for pauses := c.pauses; ; pauses = pauses[1:] {
		if resp, err = c.Do(req); err != nil {
			return nil, nil, err
		}
		body, err = io.ReadAll(io.LimitReader(resp.Body, largestPage))
		resp.Body.Close()
		switch {
		case !errors.Is(err, errLost):
			return resp, body, err
		case len(pauses) == 0 && resp.StatusCode == http.StatusOK:
			return nil, nil, err
		case len(pauses) == 0:
			return resp, body, nil // its status says more
		}
		if err := fault.Pause(req.Context(), pauses[0]); err != nil {
			return nil, nil, err
		}
	}
}

// readPage requests a page in one of the two JSON forms of a collection: {"d":[…]},
// which has no further page, and {"d":{"results":[…],"__next":"…"}} (OData 2.0,
// JSON format).
func readPage[T any](ctx context.Context, c *Client, address string) (records []T, next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", fault.New(fault.ErrTemporary, "%s sends a link that is no address", c.BaseURL)
	}
	req.Header.Set("Accept", "application/json") // the default is Atom XML
	for name, values := range c.Header {
		req.Header[name] = values
	}
	resp, body, err := c.get(req)
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", Refused(resp, body)
	}
	var page struct { // the usual form first, in one pass
		D *struct {
			Results *[]T   `json:"results"`
			Next    string `json:"__next"`
		} `json:"d"`
	}
	var whole struct {
		D *[]T `json:"d"`
	}
	switch err = json.Unmarshal(body, &page); {
	case err == nil && page.D != nil && page.D.Results != nil:
		return *page.D.Results, page.D.Next, nil
	case err == nil && page.D != nil:
		return nil, "", fault.New(ErrNoList, "the answer of %s is not a list", c.BaseURL)
	case err != nil && json.Unmarshal(body, &whole) == nil && whole.D != nil:
		return *whole.D, "", nil
	}
	return nil, "", fault.New(fault.ErrTemporary, "the answer of %s cannot be read: it is %s", c.BaseURL,
		cmp.Or(network.Stranger(resp.StatusCode, resp.Header, body), "no JSON, or of an unknown form"))
}

// Division is a company that the user can open.
type Division struct {
	Code         int
	Description  string // the company's name
	CustomerName string // of the licence that it belongs to
	Status       int    // 0 inactive, 1 active, 2 archived
	Main         bool   // the licence's main division
}

// ErrNoDivisions is wrapped if neither list of divisions may be read.
var ErrNoDivisions = errors.New("no list of divisions")

// Divisions returns the companies that the user can open, over all licences, as
// seen from the division current. Some licences have only the older of the two
// lists, which covers one licence; then Divisions returns that one (Exact KB, API
// reference).
func Divisions(ctx context.Context, c *Client, current int) iter.Seq2[Division, error] {
	return func(yield func(Division, error) bool) {
		type record struct {
			Code                      int
			Description, CustomerName string
			Status                    int
			IsMainDivision, Main      bool
		}
		var refusal error
		for _, list := range []string{"system/Divisions?$select=Code,Description,CustomerName,Status,IsMainDivision",
			"hrm/Divisions?$select=Code,Description,CustomerName,Status,Main"} {
			begun := false
			var err error
			for d, recordErr := range Records[record](ctx, c, fmt.Sprintf("/api/v1/%d/%s", current, list)) {
				if err = recordErr; err != nil {
					break
				}
				begun = true
				if !yield(Division{d.Code, fault.Printable(d.Description), fault.Printable(d.CustomerName), d.Status, d.IsMainDivision || d.Main}, nil) {
					return
				}
			}
			if err == nil {
				return
			}
			err = fmt.Errorf("divisions: %w", err)
			if refused := (*fault.ServerError)(nil); begun || !errors.As(err, &refused) || refused.Status != http.StatusNotFound && refused.Status != http.StatusForbidden {
				yield(Division{}, err)
				return
			}
			refusal = cmp.Or(refusal, err)
		}
		yield(Division{}, fault.With(refusal, ErrNoDivisions))
	}
}

// Opens reports whether the user can open a division, by one request.
func Opens(ctx context.Context, c *Client, code int) (bool, error) {
	for _, err := range Records[struct{}](ctx, c, fmt.Sprintf("/api/v1/%d/system/Divisions?$select=Code&$filter=Code%%20eq%%20%[1]d", code)) {
		if errors.Is(err, ErrDivision) || errors.Is(err, ErrDivisionScope) {
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}
