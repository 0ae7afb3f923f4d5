package exactauth

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strings"
)

//go:embed relay.html
var relayHTML string

// RelayPage returns a static page for a registered https redirect URI of the
// user's own: it sends the browser on to the port of 127.0.0.1 that state begins
// with, and nowhere else whatever the query says. Its one script and one style
// are allowed by their hashes, everything else is forbidden. That it may not be
// framed can only be said by its server, so the script looks.
func RelayPage() string {
	return strings.NewReplacer(
		"{{script}}", hashOf(between(relayHTML, "<script>", "</script>")),
		"{{style}}", hashOf(between(relayHTML, "<style>", "</style>")),
	).Replace(relayHTML)
}

// hashOf is a source of a content security policy, without its quotes.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}
