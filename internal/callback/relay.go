package callback

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strings"
)

//go:embed relay.html
var relayHTML string

// RelayPage returns a static page for a registered https redirect URI of the user's
// own. The page sends the browser on to the port of 127.0.0.1 that the state begins
// with, and nowhere else whatever the query says. Its policy allows its one script
// and one style by their hashes and forbids everything else. A page's own policy
// cannot forbid framing, only its server can, so the script checks for a frame.
func RelayPage() string {
	return strings.NewReplacer(
		"{{script}}", hashOf(between(relayHTML, "<script>", "</script>")),
		"{{style}}", hashOf(between(relayHTML, "<style>", "</style>")),
	).Replace(relayHTML)
}

// hashOf returns the hash of a script or style for a content security policy.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}
