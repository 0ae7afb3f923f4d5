package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// errorTexts are regular expressions for what the system says: Windows, or Wine.
var errorTexts = map[string]string{
	"NO_FILE": "(The system cannot find the file specified|File not found)",
	"REFUSED": `(.*actively refused it\.|Connection refused\.)`,
	"IN_USE":  `(Only one usage of each socket address|winapi error #10048)`,

	// of a certificate of start.exactonline.nl for the address of an Auth0 tenant: Windows asks for the authority first
	"OTHERS": "Everyone can", "OTHERS_READ": "Everyone can read it", "CLOSE": "icacls ", "UNREADABLE": ".*(being used by another process|Sharing violation).*",
	"OTHER_NAME": `of an authority that this machine does not trust: CN=start\.exactonline\.nl,O=exactauth on this computer$`,
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

// kill ends a process by force, with the exit code that a shell on Unix reports.
func kill(p *os.Process) error {
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.TerminateProcess(h, 128+9)
}

// openUp lets Everyone read a file or directory, or change it.
func openUp(path string, change bool) error {
	everyone, err := windows.CreateWellKnownSid(windows.WinWorldSid)
	if err != nil {
		return err
	}
	rights := windows.ACCESS_MASK(windows.GENERIC_READ | windows.GENERIC_EXECUTE)
	if change {
		rights |= windows.GENERIC_WRITE
	}
	return setAccess(path, access(everyone, rights))
}

func makePrivate(path string) error { return setAccess(path) }

// shut opens a file that no other process can open then.
func shut(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	return os.NewFile(uintptr(h), path), err
}

func access(sid *windows.SID, rights windows.ACCESS_MASK) windows.EXPLICIT_ACCESS {
	return windows.EXPLICIT_ACCESS{AccessPermissions: rights, AccessMode: windows.SET_ACCESS,
		Trustee: windows.TRUSTEE{TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeValue: windows.TrusteeValueFromSID(sid)}}
}

// setAccess sets an access list of a file's or directory's own: of the user, the system, its administrators and others.
func setAccess(path string, entries ...windows.EXPLICIT_ACCESS) error {
	friends, err := friends()
	if err != nil {
		return err
	}
	for _, sid := range friends[:3] {
		entries = append(entries, access(sid, windows.GENERIC_ALL))
	}
	list, err := windows.ACLFromEntries(entries, nil)
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}
