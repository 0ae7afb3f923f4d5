// Package durabletest changes access lists for tests.
package durabletest

import (
	"testing"

	"golang.org/x/sys/windows"
)

// OpenToEverybody lets every user change a file or directory.
func OpenToEverybody(t testing.TB, path string) { SetAccess(t, path, "D:P(A;;FA;;;WD)") }

// ShowToEverybody lets every user read a file or directory, which stays this user's.
func ShowToEverybody(t testing.TB, path string) { SetAccess(t, path, "D:P(A;;FR;;;WD)") }

// SetAccess sets the access list of a file or directory. This user keeps all rights.
func SetAccess(t testing.TB, path, sddl string) {
	t.Helper()
	us, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	sd, err := windows.SecurityDescriptorFromString(sddl + "(A;;FA;;;" + us.User.Sid.String() + ")")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err == nil {
		err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
			windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
