package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The search for leaks must be able to find Auth0's secrets, too.
func TestAuth0LeaksAreFound(t *testing.T) {
	const script = `
tenant new
exec sh -c 'echo $AUTH0_CLIENT_SECRET'
exec sh -c 'cat app-secret >&2'
cp app-secret copy
tenant api-token read:connections
exec sh -c 'echo token: $AUTH0_API_TOKEN'
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "leaky.txtar"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	var found []string
	t.Run("group", func(t *testing.T) {
		testscript.RunT(&scriptT{T: t, report: func(_ *testing.T, format string, args ...any) {
			found = append(found, fmt.Sprintf(format, args...))
		}}, scriptParams(dir))
	})
	all := strings.Join(found, "\n")
	for _, want := range []string{
		"a client secret in the stdout of: exec sh -c 'echo $AUTH0_CLIENT_SECRET'\n",
		"a client secret in the stderr of: exec sh -c 'cat app-secret >&2'\n",
		"a client secret in the file ",
		"a management token in the stdout of: exec sh -c 'echo token: $AUTH0_API_TOKEN'\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not found: %q in\n%s", want, all)
		}
	}
}
