package term

import "testing"

// On a narrow terminal lines break between words, and the words stay the same.
func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"exactauth: hint: call again\n":   "exactauth:\nhint: call\nagain\n",
		"short\n\nlines\n":                "short\n\nlines\n",
		"https://a.example/very/long\n":   "https://a.example/very/long\n",
		"  exactauth login --paste now\n": "  exactauth login --paste now\n",
	} {
		if got := fold(in, 12); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if got := fold(in, 80); got != in {
			t.Errorf("in 80 columns %q: %q", in, got)
		}
	}
}
