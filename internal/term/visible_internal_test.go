package term

import (
	"bytes"
	"testing"
)

// Control characters are dropped wherever the text is cut into parts.
func TestVisible(t *testing.T) {
	const text, want = "a\x1b[2J\té\u009b1m\r\n\u65e5\x7f\xff\x00b\n", "a[2J\té1m\n\u65e5?b\n"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		v := &visible{to: &out}
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if written, err := v.Write(rest[:n]); written != n || err != nil {
				t.Fatalf("%d of %d, %v", written, n, err)
			}
			rest = rest[n:]
		}
		if out.String() != want {
			t.Errorf("parts of %d: %q, want %q", size, out.String(), want)
		}
	}
}
