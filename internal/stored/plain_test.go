package stored

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is plain is what encoding/json makes of it.
func FuzzPlain(f *testing.F) {
	plain := plainText(f)
	f.Add(plain)
	for _, edit := range [][2]string{
		{`"version": 1`, `"version": 2`}, {`"version": 1`, `"version": 01`}, {`"version": 1`, `"version": +1`}, {`"version": 1`, `"version": 1,\n  "version": 1`},
		{`"generation": 3`, `"moved_to": "postgres://db/x"`}, {`"generation": 3`, `"generation": -3`}, {`"generation": 3`, `"generation": "3"`},
		{`"life_seconds": 600`, `"life_seconds": 600.5`}, {`"life_seconds": 600`, `"life_seconds": 6e2`}, {`"login"`, `"Login"`},
		{`"access_token"`, `"ACCESS_TOKEN"`}, {"access\"", "acc\\u0065ss\""}, {"access\"", "acc\"ess\""}, {"access\"", "acc\x80ss\""},
		{`01Z"`, `01Z", "wait_for_expiry": true`}, {`01Z"`, `01Z", "failures": -1`}, {`01Z"`, `01Z",`}, {`01Z"`, `01Z"}`},
		{`01Z"`, `01Z", "refused": {"text": "no", "at": "2026-11-22T12:00:01Z", "client": "x"}`}, {`01Z"`, `01Z", "pending": {}`},
		{"{\n", "{ "}, {"}\n", "}"}, {"}\n", "}\n\n"}, {"\"\n", "\",\n"},
	} {
		f.Add(strings.ReplaceAll(plain, edit[0], edit[1]))
	}
	f.Add("")
	f.Add("{}")
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := decodePlain([]byte(text))
		if !ok {
			return
		}
		want := new(Record)
		if err := json.Unmarshal([]byte(text), want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v, %v", got, want, err)
		}
	})
}

// plainText is a record as the program writes it.
func plainText(tb testing.TB) string {
	tb.Helper()
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	text, err := Encode(&Record{
		BaseURL: "https://start.exactonline.nl", ClientID: "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", ClientSecret: "abcDEF123456", Generation: 3,
		Login: &Login{Tokens: Tokens{AccessToken: "stampNL001.access", RefreshToken: "stampNL001.refresh!", LifeSeconds: 600, RequestedAt: at, RepliedAt: at.Add(time.Second)}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// What exactauth writes is plain: nobody would notice if it no longer were, but
// for the time that it takes.
func TestPlainIsWhatIsWritten(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	login := Login{Tokens: Tokens{AccessToken: "stampNL001.a-b_c", RefreshToken: "stampNL001.r!", LifeSeconds: 600, RequestedAt: at, RepliedAt: at.Add(time.Second)}}
	second := login
	second.PreviousRefreshToken = "stampNL001.p!"
	second.SpentAt = at
	second.ServerDate = at.Truncate(time.Second)
	second.User = &User{ID: "i", UserName: "zoë", FullName: "Zoë O'Neill", Email: "z@voorbeeld.example", Division: 123456}
	for _, l := range []Login{login, second} {
		r := Record{BaseURL: "https://start.exactonline.nl", ClientID: "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", ClientSecret: "abcDEF123456", Generation: 3, Login: &l}
		text, err := Encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := decodePlain(text); !ok || !reflect.DeepEqual(got, &r) {
			t.Errorf("plain is %v: %+v, want %+v\n%s", ok, got, r, text)
		}
	}
}
