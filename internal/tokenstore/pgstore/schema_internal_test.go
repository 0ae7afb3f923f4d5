package pgstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// People who make the table by hand copy it from the page.
func TestSchemaIsOnThePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "shared-store.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n```sql\n"+schema+";\n") {
		t.Errorf("docs/shared-store.md does not have the statement that makes the table: %s", schema)
	}
}
