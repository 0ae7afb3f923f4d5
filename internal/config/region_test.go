package config_test

import (
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/config"
)

func TestRegions(t *testing.T) {
	t.Parallel()
	var codes []string
	for _, r := range config.Regions() {
		codes = append(codes, r.Code)
		if !strings.HasPrefix(r.BaseURL, "https://start.exactonline.") || r.Country == "" {
			t.Errorf("%+v", r)
		}
		for _, code := range []string{r.Code, strings.ToUpper(r.Code), " " + r.Code + "\n"} {
			if got, err := config.ParseRegion(code); err != nil || got != r {
				t.Errorf("%q: %+v, %v", code, got, err)
			}
		}
	}
	if got := strings.Join(codes, " "); got != "nl be de fr es uk com" {
		t.Error(got)
	}
	for _, code := range []string{"", "gb", "n", "nl be", "https://start.exactonline.nl"} {
		if _, err := config.ParseRegion(code); err == nil || !strings.Contains(err.Error(), "nl be de fr es uk com") {
			t.Errorf("%q: %v", code, err)
		}
	}
}
