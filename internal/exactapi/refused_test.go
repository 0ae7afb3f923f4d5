package exactapi_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
)

// What Exact says is found in the header, the status line and the body.
func TestRefused(t *testing.T) {
	t.Parallel()
	const scope = "Forbidden - Application Scope Violated. Cannot read 'crm.accounts' scope."
	for _, test := range []struct {
		answer string // status line, headers and body
		kind   error
		want   string
	}{
		{"403 Forbidden\nReason: BlockedUser\n", exactapi.ErrUser, "the user is blocked: HTTP 403: BlockedUser"},
		{"403 Forbidden\nReason: InactiveUser\n\n" + `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`, exactapi.ErrUser, "the user is not active: HTTP 403: InactiveUser: Forbidden"},
		{"403 Forbidden\nReason: BlockedCustomer\n", exactapi.ErrLicence, "the customer is blocked: HTTP 403: BlockedCustomer"},
		{"403 Forbidden\nReason: LicenseExpired\n", exactapi.ErrLicence, "the licence has expired: HTTP 403: LicenseExpired"},
		{"403 Forbidden\nReason: DivisionBlocked\n", exactapi.ErrDivision, "this division is blocked: HTTP 403: DivisionBlocked"},
		{"403 Forbidden\nReason: NoDivisionAccess\n", exactapi.ErrDivision, "the user has no access to this division: HTTP 403: NoDivisionAccess"},
		{"403 Forbidden\n\n" + `{"error":{"code":"","message":{"lang":"","value":"` + scope + `"}}}`, exactapi.ErrAppScope, "the app has no scope for this: HTTP 403: " + scope},
		{"403 " + scope + "\n", exactapi.ErrAppScope, "the app has no scope for this: HTTP 403: " + scope},
		{"403 " + scope + "\n\n" + `{"error":{"message":"` + scope + `"}}`, exactapi.ErrAppScope, "the app has no scope for this: HTTP 403: " + scope},
		{"403 Forbidden\n\n<?xml version=\"1.0\"?><error xmlns=\"x\"><code/><message xml:lang=\"\">" + strings.ReplaceAll(scope, "'", "&#39;") + "</message></error>",
			exactapi.ErrAppScope, "the app has no scope for this: HTTP 403: " + scope},
		{"403 Forbidden\n\n<m:error><m:message>User division is not within division scope</m:message></m:error>", exactapi.ErrDivisionScope,
			"the app may not use this division: HTTP 403: User division is not within division scope"},
		{"403 User division is not within division scope\n", exactapi.ErrDivisionScope, "the app may not use this division: HTTP 403: User division is not within division scope"},
		{"403 Forbidden\n\n<html><head><title>403 - Forbidden: Access is denied.</title></head></html>", fault.ErrForbidden, "Exact does not allow it: HTTP 403: 403 - Forbidden: Access is denied."},
		{"403 Forbidden\n", fault.ErrForbidden, "Exact does not allow it: HTTP 403"},
		{"403 Forbidden\n\n\ufeff" + `{"Message":"Authorization has been denied."}`, fault.ErrForbidden, "Exact does not allow it: HTTP 403: Authorization has been denied."},
		{"403 Forbidden\nReason: a\x1b[2J\n\nno\x1b[2J", fault.ErrForbidden, "Exact does not allow it: HTTP 403: a[2J: no[2J"},
		{"403 Forbidden\n\n\x89PNG\r\n\x1a\n", fault.ErrForbidden, "Exact does not allow it: HTTP 403"},
		{"401 Unauthorized\nReason: LicenseExpired\n", exactapi.ErrLicence, "the licence has expired: HTTP 401: LicenseExpired"},
		{"401 Unauthorized\n\n<html><head><title>Object moved</title></head></html>", fault.ErrLoginNeeded, "Exact does not accept the access token: HTTP 401"},
		{"408 Request Timeout\n", fault.ErrTemporary, "Exact took too long: HTTP 408"},
		{"429 Too Many Requests\nReason: NoDivisionAccess\n", fault.ErrTemporary, "no answer: HTTP 429: NoDivisionAccess"},
		{"400 Bad Request\n\nno $select\n", nil, "HTTP 400: no $select"},
		{"400 Bad Request\n\n" + `{"fault":{"faultstring":"Failed","detail":{"errorcode":"x"}}}`, nil, "HTTP 400: Failed"},
	} {
		head, body, _ := strings.Cut(test.answer, "\n\n")
		if strings.Contains(test.answer, "\x1b") {
			head = strings.ReplaceAll(head, "\x1b", "") // which net/http does not let through
		}
		raw := "HTTP/1.1 " + strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n") + "\r\nConnection: close\r\n\r\n" + body
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
		if err != nil {
			t.Fatalf("%q: %v", test.answer, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		err = exactapi.Refused(resp, text)
		if err.Error() != test.want {
			t.Errorf("%q: %v, want %s", test.answer, err, test.want)
		}
		var server *fault.ServerError
		if !errors.As(err, &server) || test.kind != nil && !errors.Is(err, test.kind) {
			t.Errorf("%q: %#v is not of the kind %v", test.answer, err, test.kind)
		}
		for _, other := range []error{exactapi.ErrAppScope, exactapi.ErrDivisionScope, exactapi.ErrDivision, exactapi.ErrUser, exactapi.ErrLicence, fault.ErrTemporary, fault.ErrLoginNeeded} {
			if other != test.kind && errors.Is(err, other) {
				t.Errorf("%q is of the kind %v, too", test.answer, other)
			}
		}
	}
}
