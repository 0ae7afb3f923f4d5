package term

import "testing"

// On a narrow terminal lines break between words, and the words stay the same.
func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"exactauth: hint: call again\n":   "exactauth:\nhint: call\nagain\n",
		"short\n\nlines\n":                "short\n\nlines\n",
		"https://a.example/very/long\n":   "https://a.example/very/long\n",
		"  exactauth login --paste now\n": "  exactauth login --paste now\n",
		"  5  try again later\n":          "  5  try\n     again\n     later\n",
		"      try again\n":               "      try\n      again\n",
		"      {\"try\": 1, \"b\": 2}\n":  "      {\"try\": 1, \"b\": 2}\n",
	} {
		if got := Fold(in, 12); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if got := Fold(in, 80); got != in {
			t.Errorf("in 80 columns %q: %q", in, got)
		}
	}
}
