package fault

import "strings"

// List returns items as a sentence has them: with commas, and last before the last one,
// such as " and ".
func List(items []string, last string) string {
	n := len(items) - 1
	if n < 1 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:n], ", ") + last + items[n]
}
