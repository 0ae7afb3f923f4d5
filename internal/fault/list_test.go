package fault_test

import (
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
)

func TestList(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "a b": "a and b", "a b c": "a, b and c"} {
		if got := fault.List(strings.Fields(in), " and "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
