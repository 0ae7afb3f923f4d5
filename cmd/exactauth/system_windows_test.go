package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// errorTexts are regular expressions for what the system says: Windows, or Wine.
var errorTexts = map[string]string{
	"NO_FILE": "(The system cannot find the file specified|File not found)",
	"REFUSED": `(.*actively refused it\.|Connection refused\.)`,
	"IN_USE":  `(Only one usage of each socket address|winapi error #10048)`,
}

// friends may read the user's files: the system, and administrators, who could in any case.
func friends() ([]*windows.SID, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	all := []*windows.SID{user.User.Sid}
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid, windows.WinCreatorOwnerSid} {
		sid, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return nil, err
		}
		all = append(all, sid)
	}
	return all, nil
}

func checkPrivate(path string) error {
	friends, err := friends()
	if err != nil {
		return err
	}
	d, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	list, _, err := d.DACL()
	if err != nil {
		return err
	}
	if list == nil {
		return fmt.Errorf("it has no access list")
	}
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return err
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		known := ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Mask == 0
		for _, friend := range friends {
			known = known || sid.Equals(friend)
		}
		if !known {
			return fmt.Errorf("%s may access it: %s", sid, d)
		}
	}
	return nil
}

func makePrivate(path string) error {
	friends, err := friends()
	if err != nil {
		return err
	}
	var entries []windows.EXPLICIT_ACCESS
	for _, sid := range friends[:3] {
		entries = append(entries, windows.EXPLICIT_ACCESS{AccessPermissions: windows.GENERIC_ALL, AccessMode: windows.SET_ACCESS,
			Trustee: windows.TRUSTEE{TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeValue: windows.TrusteeValueFromSID(sid)}})
	}
	list, err := windows.ACLFromEntries(entries, nil)
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}
