package config

import (
	"fmt"
	"strings"
)

// Region is one country's instance of Exact Online. App registrations, tokens
// and divisions belong to one instance and work at no other.
type Region struct {
	Code    string // as in a profile: "nl"
	BaseURL string // of sign-in and API alike: "https://start.exactonline.nl"
	Country string // in English, for menus
}

// Regions returns all instances, the Netherlands (the default) first. The list
// agrees with what integrators used in 2026 (n8n, wowauth, api-evangelist);
// which of them still take new customers is not known.
func Regions() []Region {
	return []Region{
		{"nl", "https://start.exactonline.nl", "Netherlands"},
		{"be", "https://start.exactonline.be", "Belgium"},
		{"de", "https://start.exactonline.de", "Germany"},
		{"fr", "https://start.exactonline.fr", "France"},
		{"es", "https://start.exactonline.es", "Spain"},
		{"uk", "https://start.exactonline.co.uk", "United Kingdom"},
		{"com", "https://start.exactonline.com", "United States and international"},
	}
}

// ParseRegion finds a region by its code. The error names all codes.
func ParseRegion(code string) (Region, error) {
	codes := ""
	for _, r := range Regions() {
		if r.Code == strings.ToLower(strings.TrimSpace(code)) {
			return r, nil
		}
		codes += " " + r.Code
	}
	return Region{}, fmt.Errorf("%q: want one of%s", code, codes)
}
