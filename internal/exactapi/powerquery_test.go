package exactapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// TestPowerQuery sends the requests that the query in docs/excel.md makes: M itself runs in Microsoft's programs only.
// It reads from the query what it asks for, and follows the pages as the query does: the path and the parameters of
// __next, taken apart and put together again.
func TestPowerQuery(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/excel.md")
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(string(page), "\n```m\n")
	query, _, _ = strings.Cut(query, "\n```\n")
	find := func(pattern string) []string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(query)
		if m == nil {
			t.Fatalf("the query has no %s", pattern)
		}
		return m[1:]
	}
	division := find(`Division = "([0-9]+)"`)[0]
	part := find(`Path +\(?= "([^"]+)" & Division & "([^"]+)"`)
	option := find(`Options +\(?= \[#"([^"]+)" = "([^"]+)"\]`)
	headers := find(`Headers = \[Accept = "([^"]+)", Authorization = "(Bearer )" & Secret\]`)
	base := find(`Web\.Contents\("(http://127\.0\.0\.1:[0-9]+)", \[`)[0]
	for _, must := range []string{"RelativePath = path,", "Query = query,", "[secret],", `"__next"`, "Uri.Parts(to)",
		`Get(Text.TrimStart(parts[Path], "/"), parts[Query])`} {
		if !strings.Contains(query, must) {
			t.Errorf("the query lacks %s", must)
		}
	}
	if !strings.Contains(string(page), "--port "+base[strings.LastIndex(base, ":")+1:]+" ") {
		t.Errorf("the page starts no proxy at %s", base)
	}

	e := newExact(t, exactsim.Config{})
	path, values := part[0]+division+part[1], url.Values{option[0]: {option[1]}}
	var names []string
	for pages := 1; ; pages++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.origin+"/"+path+"?"+values.Encode(), nil) // "%24select"
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", headers[0])
		req.Header.Set("Authorization", headers[1]+e.secret)
		req.Header.Set("User-Agent", "Microsoft.Data.Mashup (https://go.microsoft.com/fwlink/?LinkID=304225)")
		resp, err := e.served.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var answer struct {
			D struct {
				Results []map[string]any `json:"results"`
				Next    string           `json:"__next"`
			} `json:"d"`
		}
		if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil {
			t.Fatalf("page %d: %s, %v: %s", pages, resp.Status, err, body)
		}
		for _, row := range answer.D.Results {
			delete(row, "__metadata")
			if len(row) != 3 {
				t.Fatalf("a record has %v", row)
			}
			names = append(names, row["Name"].(string))
		}
		if answer.D.Next == "" {
			if pages != 2 || len(names) != 75 || names[74] != "Klant 75 B.V." {
				t.Errorf("%d pages, %d records", pages, len(names))
			}
			return
		}
		next, err := url.Parse(answer.D.Next)
		if err != nil || next.Scheme+"://"+next.Host != e.origin {
			t.Fatalf("the next page is at %q, %v", answer.D.Next, err)
		}
		path, values = strings.TrimLeft(next.Path, "/"), next.Query()
	}
}
