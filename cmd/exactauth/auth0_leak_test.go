package main

import (
	"strings"
	"testing"
)

// The search for leaks must find Auth0's secrets too.
func TestAuth0LeaksAreFound(t *testing.T) {
	const script = `
tenant new
exec sh -c 'echo $AUTH0_CLIENT_SECRET'
exec sh -c 'cat app-secret >&2'
cp app-secret copy
tenant api-token read:connections
exec sh -c 'echo token: $AUTH0_API_TOKEN'
`
	all := leaksOf(t, script)
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
