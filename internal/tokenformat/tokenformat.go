// Package tokenformat writes an access token as "exactauth token" prints it. It is
// apart from the commands because two programs print tokens: see
// cmd/exactauth-front.
package tokenformat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Token is what is written of a live access token.
type Token struct {
	AccessToken string
	ExpiresAt   time.Time
	BaseURL     string // scheme and host, where the token works
	Profile     string
	Division    int // the pinned one, 0 if none is
}

// Formats are the names that Write takes.
func Formats() []string { return []string{"token", "header", "env", "curl"} }

// Write gives the token in a format, with a newline at its end: "token" as it is,
// "header" as an HTTP header, "env" for a POSIX shell's eval, "curl" for "curl -K -".
func Write(format string, t Token) (string, error) {
	switch format {
	case "token":
		return t.AccessToken + "\n", nil
	case "header":
		return "Authorization: Bearer " + t.AccessToken + "\n", nil
	case "curl":
		return "header = \"Authorization: Bearer " + curlQuote(t.AccessToken) + "\"\n", nil
	case "env":
		// What an earlier eval for another profile set must not stay.
		division := "unset EXACT_DIVISION\n"
		if t.Division != 0 {
			division = "export EXACT_DIVISION=" + strconv.Itoa(t.Division) + "\n"
		}
		return "export EXACT_ACCESS_TOKEN=" + shellQuote(t.AccessToken) + "\nexport EXACT_BASE_URL=" + shellQuote(t.BaseURL) + "\n" + division, nil
	}
	return "", fmt.Errorf("want %s or %s", strings.Join(Formats()[:3], ", "), Formats()[3])
}

// JSON gives the token as one indented JSON object, its times counted from now.
func JSON(t Token, now time.Time) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a "<" stays one
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at"`
		ExpiresIn   int       `json:"expires_in"` // seconds
		BaseURL     string    `json:"base_url"`
		Profile     string    `json:"profile"`
		Division    int       `json:"division,omitempty"`
	}{t.AccessToken, "Bearer", t.ExpiresAt.UTC().Truncate(time.Second), int(t.ExpiresAt.Sub(now).Seconds()), t.BaseURL, t.Profile, t.Division})
	return b.String(), err
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// curlQuote escapes for a double-quoted value in a curl configuration file.
func curlQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s)
}
