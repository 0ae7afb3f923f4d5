package exactauth

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// The table of answers (design, section 6): text first, status second.
func TestClassify(t *testing.T) {
	t.Parallel()
	const page = "text/html; charset=utf-8"
	for _, test := range []struct {
		status int
		body   string
		want   outcome
	}{
		{400, `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`, tooEarly},
		{401, `{"error":"access_denied","error_description":"Access Token not expired"}`, tooEarly},
		{200, `{"error":"access_denied","error_description":"access_token not expired"}`, tooEarly},
		{503, `{"error":"access_denied","error_description":"access_token NOT EXPIRED"}`, tooEarly},
		{401, `{"error":"unauthorized_client","error_description":"Old refresh token used."}`, oldToken},
		{400, `{"error":"unauthorized_client","error_description":"Old refresh token used."}`, oldToken},
		{400, `{"error":"invalid_request","error_description":"The refresh token expired at 10\/11\/2022 9:18:20 PM and it is now 10\/28\/2022 4:15:50 PM."}`, deadToken},
		{400, `{"error":"invalid_grant"}`, deadToken},
		{400, `{"error":"invalid_request","error_description":"Signed data extraction has failed"}`, deadToken},
		{400, `{"error":"invalid_client"}`, badClient},
		{401, `{"error":"invalid_client","error_description":"x"}`, badClient},
		{400, `{"error":"invalid_request","error_description":"Callback URI 'x' is not valid"}`, badClient},
		{400, `{"error":"invalid_request","error_description":"redirect_uri mismatch"}`, badClient},
		{302, ``, redirected},
		{307, `<a href="x">x</a>`, redirected},
		{400, `{"error":"invalid_request"}`, refused},
		{401, `{"error":"unauthorized_client"}`, refused},
		{403, `{"error":"access_denied"}`, refused},
		{200, `{"error":"x"}`, refused},
		{200, ``, unanswered},
		{200, " \r\n", unanswered},
		{200, `{}`, unanswered},
		{200, `{"access_token":"a"`, unanswered},
		{200, `{"access_token":"a"}`, granted},
		{200, `{"access_token":"a"} {`, unanswered},
		{200, `access_token=a&expires_in=600`, granted},
		{200, `{"refresh_token":"r"}`, unanswered},
		{200, `<html>`, unanswered},
		{200, `"a"`, unanswered},
		{404, `{"fault":{"faultstring":"Unable to identify proxy for host: start.exactonline.nl:443 and url: \/api\/oauth2\/token"}}`, unanswered},
		{403, `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`, refused},
		{401, `{"error":{"code":"","message":{"lang":"","value":"Access Token not expired"}}}`, tooEarly},
		{401, `{"message":"Unauthorized"}`, refused},
		{404, `{"Message":"No HTTP resource was found"}`, refused},
		{400, `{}`, refused},
		{503, `{"error":{"code":"","message":{"lang":"","value":"Maintenance"}}}`, unanswered},
		{200, `{"error":{"code":"","message":"Forbidden"}}`, refused},
		{401, `{"fault":{"faultstring":"Invalid ApiKey"}}`, unanswered},
		{403, `{"fault":"quota"}`, unanswered},
		{408, `{"error":"x"}`, unanswered},
		{429, ``, unanswered},
		{429, `{"error":"x"}`, unanswered},
		{500, `{"error":"server_error"}`, unanswered},
		{500, `{"access_token":"a","refresh_token":"r"}`, unanswered},
		{503, `<html>`, unanswered},
		{200, `{"access_token":"a","refresh_token":"r","expires_in":"x`, granted},
		{200, `{"access_token":"a","refresh_token":"r","error":"x"}`, refused},
	} {
		got, err := classify(test.status, http.Header{"Content-Type": {page}}, []byte(test.body), scan([]byte(test.body)))
		if got != test.want {
			t.Errorf("%d %s: %s, want %s", test.status, test.body, got, test.want)
		}
		if (err == nil) != (test.want == granted) {
			t.Errorf("%d %s: error %v", test.status, test.body, err)
		}
	}
}

// The error has all the words that the answer has for a person.
func TestRefusalIsQuoted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status       int
		reason, body string
		want         outcome
		text         string
	}{
		{403, "BlockedUser", `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`, forbidden, "HTTP 403: BlockedUser: Forbidden"},
		{403, "InactiveUser: the user is not active", ``, forbidden, "HTTP 403: InactiveUser: the user is not active: an empty answer"},
		{401, "LicenseExpired", `{"error":{"code":"","message":"no"}}`, forbidden, "HTTP 401: LicenseExpired: no"},
		{400, "BlockedCustomer", `{"error":"access_denied"}`, forbidden, "HTTP 400: access_denied: BlockedCustomer"},
		{500, "BlockedUser", ``, unanswered, "HTTP 500: BlockedUser: an empty answer"},
		{403, "NoDivisionAccess", `{"error":"access_denied","error_description":"d"}`, refused, "HTTP 403: access_denied: NoDivisionAccess: d"},
		{403, "", `{"error":{"code":"c","message":{"lang":"nl","value":"Geen toegang"}}}`, refused, "HTTP 403: c: Geen toegang"},
		{401, "", `{"message":"Unauthorized"}`, refused, "HTTP 401: Unauthorized"},
		{401, "Access Token not expired", ``, tooEarly, "HTTP 401: Access Token not expired"},
		{400, "TooEarlyToRefreshTokens: Rate limit exceeded: access_token not expired", `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`, tooEarly,
			"HTTP 400: access_denied: TooEarlyToRefreshTokens: Rate limit exceeded: access_token not expired"},
		{404, "", `{"fault":{"faultstring":"Unable to identify proxy for host: x","detail":{"errorcode":"y"}}}`, unanswered, "HTTP 404: a fault of the gateway: Unable to identify proxy for host: x"},
		{404, "", `{"fault":null}`, unanswered, "HTTP 404: a fault of the gateway"},
		{418, "", `{"x":1}`, refused, "HTTP 418: an answer without a reason"},
	} {
		got, err := classify(test.status, http.Header{"Reason": {test.reason}}, []byte(test.body), scan([]byte(test.body)))
		if got != test.want || err.Error() != test.text {
			t.Errorf("%d %s %s: %s, %v; want %s, %s", test.status, test.reason, test.body, got, err, test.want, test.text)
		}
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]reply{
		``:                                {},
		`[1]`:                             {},
		`null`:                            {},
		`{`:                               {object: true},
		`{}`:                              {object: true, whole: true},
		`{} x`:                            {object: true},
		`{"a":1`:                          {object: true},
		"\ufeff" + `{"refresh_token":"r"`: {refresh: "r", object: true},
		`refresh_token=r%21&access_token=a&expires_in=600`:               {access: "a", refresh: "r!", life: 600, object: true, form: true, whole: true},
		`error=access_denied&error_description=access_token+not+expired`: {code: "access_denied", text: "access_token not expired", object: true, failed: true, form: true, whole: true},
		`<a href="x?refresh_token=r">`:                                   {},
		`refresh_token=a&refresh_token=b`:                                {},
		`x=y`:                                                            {},
		`{"access_token":"a","refresh_token":"r","expires_in":"600"}`:    {access: "a", refresh: "r", life: 600, object: true, whole: true},
		`{"access_token":"a","refresh_token":"r","expires_in":599.9`:     {access: "a", refresh: "r", life: 599, object: true},
		`{"access_token":"a","refresh_token":"r`:                         {access: "a", object: true},
		`{"access_token":1,"refresh_token":null,"error":["x"]}`:          {access: "1", object: true, whole: true, failed: true},
		`{"expires_in":"-5"}`:                                            {object: true, whole: true},
		`{"expires_in":1e300}`:                                           {life: math.MaxInt32, object: true, whole: true},
		`{"expires_in":"NaN"}`:                                           {object: true, whole: true},
		`{"expires_in":"Inf"}`:                                           {object: true, whole: true},
		`{"expires_in":99999999999}`:                                     {life: math.MaxInt32, object: true, whole: true},
		`{"x":{"refresh_token":"r"}}`:                                    {object: true, whole: true},
		`{"error":"e","error_description":"d","refresh_token":"r"}`:      {code: "e", text: "d", refresh: "r", object: true, failed: true, whole: true},
	} {
		if got := scan([]byte(body)); got != want {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 28, 16, 15, 50, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-3": 0, "x": 0, "1.5": 0, "120": 2 * time.Minute, "999999999": time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):      time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat):     0,
		now.Add(1000 * time.Hour).Format(http.TimeFormat): time.Hour,
	} {
		if got := fault.RetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 6: 20, 11: 20, 64: 20, math.MaxInt: 20} {
		if got := backoff(time.Second, failures, 20*time.Second); got != want*time.Second {
			t.Errorf("%d failures: %s, want %d s", failures, got, want)
		}
	}
	longest := record.MaxLife
	for failures := range 70 {
		if got := backoff(longest/10, failures+1, 6*longest); got < longest/10 || got > 6*longest {
			t.Errorf("%d failures of the longest life: %s", failures+1, got)
		}
	}
}

// The pauses of one call add up to at most 10 s, and to less if tokens have a short life.
func TestRetryPauses(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{time.Second, 20 * time.Second, 600 * time.Second, 24 * time.Hour} {
		for v := granted; v < numOutcomes; v++ {
			for _, wait := range []time.Duration{0, time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
				total, attempt := time.Duration(0), 1
				for ; ; attempt++ {
					pause, again := new(Client).retryPause(answer{outcome: v, retryAfter: wait}, life, attempt)
					if !again {
						break
					}
					total += pause
				}
				if total > 10*time.Second || total > life/50 || attempt > 3 {
					t.Errorf("%s, life %s, Retry-After %s: %d attempts, pauses %s", v, life, wait, attempt, total)
				}
				if attempt > 1 && v != notSent && v != unanswered {
					t.Errorf("%s is tried again", v)
				}
			}
		}
	}
}

// Tokens are granted only if both are there, or the answer is whole. The error about an
// answer is fit for a terminal and contains no token.
func FuzzTokenReply(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{200, `{"access_token":"stampNL001.gAAAA","token_type":"bearer","expires_in":"600","refresh_token":"stampNL001.AbCd!IAAAA"}`},
		{200, `{"access_token":"a","refresh_token":"r","expires_in":600`},
		{200, `{"access_token":"a","refresh_token":""}`},
		{200, ``}, {200, `{}`}, {200, `{"`}, {200, `[{}]`}, {200, "\xff"}, {200, `{"a":{"b":[1,2,{"c":null}]},"refresh_token":"r"}`},
		{400, `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired","refresh_token":"r"}`},
		{401, `{"error":"unauthorized_client","error_description":"Old refresh token used."}`},
		{400, `{"error":"invalid_client\u001b[2J","error_description":"\u202e\n<b>"}`},
		{404, `{"fault":{"faultstring":"x"}}`}, {503, `<html>`}, {307, ``},
	} {
		f.Add(seed.status, "application/json", []byte(seed.body))
	}
	f.Add(403, "BlockedUser\u202e", []byte(`{"error":{"code":"x","message":{"lang":"","value":"Forbidden"}}}`))
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		found := scan(body)
		v, err := classify(status, http.Header{"Content-Type": {header}, "Reason": {header}}, body, found)
		if v < 0 || v >= numOutcomes || v == notSent {
			t.Fatalf("outcome %d", v)
		}
		if (v == granted) != (err == nil) {
			t.Errorf("%s with the error %v", v, err)
		}
		if v == granted && (found.access == "" || found.refresh == "" && !found.whole || found.code != "" || status/100 != 2) {
			t.Errorf("granted: %d %q", status, body)
		}
		if strings.ContainsFunc(found.access+found.refresh, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("tokens %q, %q", found.access, found.refresh)
		}
		if found.life < 0 {
			t.Errorf("%+v", found)
		}
		if err != nil {
			server, ok := err.(*fault.ServerError)
			if !ok || server.Status != status {
				t.Fatalf("%#v", err)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2028' }) || len(err.Error()) > 4*1300 {
				t.Errorf("not fit for a terminal: %q", err.Error())
			}
		}
	})
}
