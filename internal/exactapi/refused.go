package exactapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
)

// The kinds of fault.ErrForbidden, by where a person can change it.
var (
	// ErrAppScope: the app's registration in the App Center lacks a scope.
	ErrAppScope = fault.Kind(fault.ErrForbidden, "scope of the app")
	// ErrDivisionScope: the user has not opened the division to the app.
	ErrDivisionScope = fault.Kind(fault.ErrForbidden, "division of the app")
	// ErrDivision: the user cannot open the division.
	ErrDivision = fault.Kind(fault.ErrForbidden, "division of the user")
	// ErrUser: the user is blocked or inactive.
	ErrUser = fault.Kind(fault.ErrForbidden, "user")
	// ErrLicence: the customer of Exact is blocked, or the licence has expired.
	ErrLicence = fault.Kind(fault.ErrForbidden, "licence")
)

// forbidden has, by what Exact says, what that means. The first two are texts (app
// scopes: picqer/exact-php-client#509, #659; divisions: barcodescan.nl), the others values of
// the header Reason (picqer/exact-php-client#451).
var forbidden = []struct {
	says string // in lower case
	kind error
	text string
}{
	{"application scope violated", ErrAppScope, "the app has no scope for this"},
	{"division scope", ErrDivisionScope, "the app may not use this division"},
	{"nodivisionaccess", ErrDivision, "the user has no access to this division"},
	{"divisionblocked", ErrDivision, "this division is blocked"},
	{"blockeduser", ErrUser, "the user is blocked"},
	{"inactiveuser", ErrUser, "the user is not active"},
	{"blockedcustomer", ErrLicence, "the customer is blocked"},
	{"licenseexpired", ErrLicence, "the licence has expired"},
}

// Forbidden returns the meaning of a refusal in Exact's words, and its kind. A refusal
// that is not known is of the kind fault.ErrForbidden itself.
func Forbidden(said string) (meaning string, kind error) {
	said = strings.ToLower(said)
	for _, f := range forbidden {
		if strings.Contains(said, f.says) {
			return f.text, f.kind
		}
	}
	return "Exact does not allow it", fault.ErrForbidden
}

// Refused returns the error for an answer of the API that is a refusal, in Exact's
// words: those of the header Reason, of the status line and of the body.
func Refused(resp *http.Response, body []byte) error {
	refused := &fault.ServerError{Status: resp.StatusCode, Code: Reason(resp), Description: words(body)}
	if strings.Contains(refused.Code, refused.Description) {
		refused.Description = ""
	}
	meaning, kind := Forbidden(refused.Error())
	switch {
	case resp.StatusCode == http.StatusForbidden, kind != fault.ErrForbidden && resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests:
		return fault.Wrap(kind, refused, "%s", meaning)
	case resp.StatusCode == http.StatusUnauthorized:
		return fault.Wrap(fault.ErrLoginNeeded, refused, "Exact does not accept the access token")
	case resp.StatusCode == http.StatusRequestTimeout: // of a query that is too broad
		return fault.Wrap(fault.ErrTemporary, refused, "Exact took too long")
	case resp.StatusCode/100 == 5, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 3:
		return fault.Wrap(fault.ErrTemporary, refused, "%s", cmp.Or(network.Stranger(resp.StatusCode, resp.Header, body), "no answer"))
	}
	return refused
}

// Reason returns the header Reason of an answer, or otherwise the text of its status
// line if that is not the usual one.
func Reason(resp *http.Response) string {
	reason := resp.Header.Get("Reason")
	if _, text, _ := strings.Cut(resp.Status, " "); reason == "" && !strings.EqualFold(text, http.StatusText(resp.StatusCode)) {
		reason = text
	}
	return fault.Printable(reason)
}

// words returns the message in the body of an error, which may be JSON of any form, XML
// such as <error><message>, plain text or a page. The body of a 401 can be the page of
// a redirect (picqer/exact-php-client#343), which says nothing.
func words(body []byte) string {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	var object any
	text := string(body)
	switch {
	case json.Unmarshal(body, &object) == nil:
		text = message(object)
	case strings.HasPrefix(text, "<"):
		text = ""
		if m := regexp.MustCompile(`(?is)<(?:\w+:)?(?:message|faultstring|title)\b[^>]*>(.*?)</`).FindStringSubmatch(string(body)); m != nil {
			text = html.UnescapeString(m[1])
		}
	case !strings.HasPrefix(http.DetectContentType(body), "text/plain"):
		text = ""
	}
	if text = fault.Printable(text); text == "Object moved" {
		return ""
	}
	return text
}

// message finds the message in the JSON of an error, as in
// {"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}.
func message(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		for _, name := range []string{"error_description", "error", "message", "value", "fault", "faultstring", "title", "detail"} {
			for key, inner := range v {
				if text := message(inner); strings.EqualFold(key, name) && text != "" {
					return text
				}
			}
		}
	}
	return ""
}
