//go:build unix

package trust

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passwd, groups := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for file, text := range map[string]string{
		passwd: "root:x:0:0:root:/root:/bin/sh\nanna:x:1001:2001::/home/anna:/bin/sh\nbob:x:1002:1002::/:\ncarl:x:1003:2003::/:\ndora:x:1004:1004::/:\nemil:x:1005:1005::/:\n+::::::\n",
		groups: "root:x:0:emil\nanna:x:2001:\nbob:x:1002:bob,root\nstaff:x:2003:\ndora:x:1004:emil\n1005:x:1005:\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		us, gid int
		want    bool
	}{
		{"a group with the user's name", 1001, 2001, true},
		{"a group with the user's number, name and a member of that name", 1002, 1002, true},
		{"the user's first group, by another name", 1003, 2003, false},
		{"a group with another member", 1004, 1004, false},
		{"a group with the user's number alone", 1005, 1005, true},
		{"another user's group", 1002, 2001, false},
		{"another user's first group", 2003, 2003, false},
		{"root's group", 1001, 0, true},
		{"a user without a name, and a group of that number", 3001, 3001, true},
		{"a user without a name, and another group", 3001, 3002, false},
		{"root and another group", 0, 2001, false},
	} {
		if got := private(test.us, test.gid, passwd, groups); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if !private(7, 7, filepath.Join(dir, "none"), filepath.Join(dir, "none")) {
		t.Error("without the files a group of the user's number is not the user's own")
	}
}
