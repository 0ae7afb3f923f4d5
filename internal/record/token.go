package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Token is a live access token, as it is handed out and printed.
type Token struct {
	Access    fault.Secret
	ExpiresAt time.Time // by this machine's clock, rather too early than too late
	BaseURL   string    // scheme and host, where the token works
	Profile   string
	Division  int // the profile's pinned one, 0 if none is
}

// Formats returns the names that Text knows.
func Formats() []string { return []string{"token", "header", "env", "powershell", "dotenv", "curl"} }

// Text returns the token in a format, with a newline at its end: "token" is the bare
// token, "header" an HTTP header, "env" for the eval of a POSIX shell, "powershell" for
// Invoke-Expression, "dotenv" for files of NAME=value, "curl" for "curl -K -".
func (t Token) Text(format string) (string, error) {
	access := t.Access.Reveal()
	switch format {
	case "token":
		return access + "\n", nil
	case "header":
		return "Authorization: Bearer " + access + "\n", nil
	case "curl":
		return "header = \"Authorization: Bearer " + curlQuote(access) + "\"\n", nil
	case "dotenv":
		// Readers of such files differ in quotes, so nothing is quoted.
		if strings.ContainsAny(access+t.BaseURL, "'\"\\#$` ") {
			return "", errors.New("dotenv: the token has a character that some readers of such files change")
		}
		text := "EXACT_ACCESS_TOKEN=" + access + "\nEXACT_BASE_URL=" + t.BaseURL + "\n"
		if t.Division != 0 {
			text += "EXACT_DIVISION=" + strconv.Itoa(t.Division) + "\n"
		}
		return text, nil
	case "env", "powershell":
		// A division that was set earlier for another profile must not stay.
		division := map[string]string{"env": "unset EXACT_DIVISION\n", "powershell": "$env:EXACT_DIVISION = $null\n"}[format]
		if t.Division != 0 {
			division = Export(format, "EXACT_DIVISION", strconv.Itoa(t.Division))
		}
		return Export(format, "EXACT_ACCESS_TOKEN", access) + Export(format, "EXACT_BASE_URL", t.BaseURL) + division, nil
	}
	return "", fmt.Errorf("want %s", fault.List(Formats(), " or "))
}

// JSON returns the token as one indented JSON object; expires_in counts from now.
func (t Token) JSON(now time.Time) (string, error) {
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
	}{t.Access.Reveal(), "Bearer", t.ExpiresAt.UTC().Truncate(time.Second), int(t.ExpiresAt.Sub(now).Seconds()), t.BaseURL, t.Profile, t.Division})
	return b.String(), err
}

// Export returns a line that sets a variable in the environment, for the format "env" or
// "powershell". For PowerShell typographic quotes are single quotes, too.
func Export(format, name, value string) string {
	if format == "powershell" {
		value = strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(value)
		return "$env:" + name + " = '" + value + "'\n"
	}
	return "export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'\n"
}

// curlQuote escapes for a double-quoted value in a curl configuration file.
func curlQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s)
}
