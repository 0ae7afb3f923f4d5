package main

import (
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// Every line of the picture in the README, docs/demo.svg, is a line that "exactauth
// sandbox --demo" prints, in the same order. A picture line that ends in an ellipsis
// is the start of one. Ports, tokens and the seconds until a token ends vary.
func TestPicture(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the picture is of a machine without a browser")
	}
	svg, err := os.ReadFile(filepath.Join("..", "..", "docs", "demo.svg"))
	if err != nil {
		t.Fatal(err)
	}
	demo := exec.Command("exactauth", "sandbox", "--demo")
	demo.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	printed, err := demo.Output()
	if err != nil {
		t.Fatal(err)
	}
	varies := regexp.MustCompile(`127\.0\.0\.1:\d+|gAAAA[^ …]+|in [\d.]+s`)
	output := varies.ReplaceAllString("\n$ exactauth sandbox --demo\n"+string(printed), "*")
	pictured := regexp.MustCompile(`<tspan [^>]*>(.*)</tspan>`).FindAllStringSubmatch(string(svg), -1)
	if len(pictured) == 0 {
		t.Fatal("docs/demo.svg has no line of text")
	}
	for _, m := range pictured {
		line := varies.ReplaceAllString("\n"+html.UnescapeString(m[1])+"\n", "*")
		line = strings.TrimSuffix(line, "…\n")
		_, rest, found := strings.Cut(output, line)
		if !found {
			t.Fatalf("docs/demo.svg shows %q; what the program prints from there on is:\n%s", m[1], output)
		}
		output = "\n" + rest
	}
}
