package term

import (
	"strings"
	"testing"
)

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{
		"":                       0,
		"Voorbeeld België":       16,
		"Voorbeeld Belgie\u0308": 16, // with a combining diaeresis
		"日本商事":                   8,
		"ﾊﾝｶｸ":                   4, // half width
		"ＡＢ":                     4, // full width
		"한국":                     4,
		"\u1112\u1161\u11ab":     2, // 한 in its parts
		"🚀 B.V.":                 7,
		"ไทย":                    3,
		"👨‍👩‍👧":                  2, // a family, in five characters
		"שָׁלוֹם":                4,
		"Ω é ß €":                7,
	} {
		if got := Width(text); got != want {
			t.Errorf("%q takes %d cells, want %d", text, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text     string
		room     int
		ellipsis string
		want     string
	}{
		{"Voorbeeld", 9, "…", "Voorbeeld"},
		{"Voorbeeld", 8, "…", "Voorbee…"},
		{"Voorbeeld", 8, "...", "Voorb..."},
		{"日本商事会社", 7, "…", "日本商…"},
		{"日本商事会社", 6, "…", "日本…"}, // half of a character is not shown
		{"Belgie\u0308 en", 7, "…", "Belgie\u0308…"},
		{"", 0, "…", ""},
	} {
		got := cut(test.text, test.room, test.ellipsis)
		if got != test.want || Width(got) > test.room {
			t.Errorf("%q in %d: %q, want %q", test.text, test.room, got, test.want)
		}
	}
}

func TestTableAligns(t *testing.T) {
	var table Table
	table.Add("CODE", "NAME", "STATUS")
	table.Add(1, "日本商事", "active")
	table.Add(22, "Belgie\u0308", "")
	table.Add("", "🚀", "active")
	table.Add("a line of its own that is long")
	table.Add(333, "short of one")
	got := table.String()
	want := "CODE  NAME      STATUS\n" +
		"1     日本商事  active\n" +
		"22    Belgie\u0308    \n" +
		"      🚀        active\n" +
		"a line of its own that is long\n" +
		"333   short of one\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTableFits(t *testing.T) {
	long := func() Table {
		return Table{
			{"DIVISION", "NAME", "LICENCE", "STATUS"},
			{"123456", "Voorbeeld B.V.", "Voorbeeld Groep", "active"},
			{"123457", strings.Repeat("Stichting Administratiekantoor ", 4), "Voorbeeld Groep", "active"},
		}
	}
	shrunk := func(room int) string {
		t := long()
		t.shrink(room, "…")
		return t.String()
	}
	if text := long().String(); !strings.Contains(text, strings.Repeat("Stichting Administratiekantoor ", 4)) {
		t.Errorf("a script does not get all:\n%s", text)
	}
	for _, room := range []int{200, 80, 60, 50, 45} {
		text := shrunk(room)
		widest := 0
		for line := range strings.Lines(text) {
			widest = max(widest, Width(strings.TrimSuffix(line, "\n")))
		}
		if widest > room || room < 150 && widest < room {
			t.Errorf("in %d columns it takes %d:\n%s", room, widest, text)
		}
		// Only the widest column is shortened.
		if room >= 60 && (!strings.Contains(text, "Voorbeeld Groep") || !strings.Contains(text, "Voorbeeld B.V.")) {
			t.Errorf("in %d columns:\n%s", room, text)
		}
		if strings.Contains(text, "…") == (room >= 180) {
			t.Errorf("in %d columns:\n%s", room, text)
		}
	}
	// No column gets too narrow to read.
	if text := shrunk(5); !strings.Contains(text, "Voorbeeld…") || !strings.Contains(text, "123456") {
		t.Errorf("in 5 columns:\n%s", text)
	}
}
