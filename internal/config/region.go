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

	// AppCenter is where its apps are registered. It is empty for the countries whose
	// address no public source names: there the person chooses the country.
	AppCenter string
}

// Regions returns all instances, the Netherlands (the default) first. The list
// agrees with what integrators used in 2026 (n8n, wowauth, api-evangelist);
// which of them still take new customers is not known. The App Center's addresses
// are those in READMEs of integrators for that country.
func Regions() []Region {
	return []Region{
		{"nl", "https://start.exactonline.nl", "Netherlands", "https://apps.exactonline.com/nl/nl-NL/V2/Manage"},
		{"be", "https://start.exactonline.be", "Belgium", "https://apps.exactonline.com/be/nl-BE/V2/Manage"},
		{"de", "https://start.exactonline.de", "Germany", ""},
		{"fr", "https://start.exactonline.fr", "France", ""},
		{"es", "https://start.exactonline.es", "Spain", ""},
		{"uk", "https://start.exactonline.co.uk", "United Kingdom", "https://apps.exactonline.com/gb/en-GB/V2/Manage"},
		{"com", "https://start.exactonline.com", "United States and international", ""},
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
