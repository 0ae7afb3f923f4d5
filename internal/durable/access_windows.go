package durable

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Rights to a file or directory, as Windows' access lists name them. Generic ones are in
// lists that a program made by hand.
const (
	Change = windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_ALL | fileDeleteChild
	Write  = Change | windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.GENERIC_WRITE
	Read   = windows.FILE_READ_DATA | windows.GENERIC_READ

	fileDeleteChild = 0x40
)

// Other is another user, or a group, who has rights to a file or owns it. A zero Other
// is not there.
type Other struct {
	SID  string
	Name string // with its domain
	Owns bool
}

// FindOther returns the first other user who has one of these rights to the file or
// directory at path, or who owns it and can take any right. The user of this process,
// the system and its administrators are no others: they can read everything here.
// Without an access list, as on a FAT disk, everybody has all rights.
func FindOther(path string, rights windows.ACCESS_MASK) (Other, error) {
	sd, err := windows.GetNamedSecurityInfo(longPath(path), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return Other{}, &fs.PathError{Op: "read the access list of", Path: path, Err: err}
	}
	us, err := user()
	if err != nil {
		return Other{}, err
	}
	if owner, _, err := sd.Owner(); err == nil && owner != nil && !harmless(owner, us) {
		return other(owner, true), nil
	}
	list, _, err := sd.DACL()
	if err != nil && !errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) {
		return Other{}, &fs.PathError{Op: "read the access list of", Path: path, Err: err}
	}
	if list == nil {
		everybody, err := windows.CreateWellKnownSid(windows.WinWorldSid)
		return other(everybody, false), err
	}
	for i := range uint32(list.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &entry); err != nil {
			return Other{}, &fs.PathError{Op: "read the access list of", Path: path, Err: err}
		}
		const allowedIf = 9 // ACCESS_ALLOWED_CALLBACK_ACE, with the same beginning
		if entry.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE && entry.Header.AceType != allowedIf ||
			entry.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 || entry.Mask&rights == 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&entry.SidStart)); !harmless(sid, us) {
			return other(sid, false), nil
		}
	}
	return Other{}, nil
}

func other(sid *windows.SID, owns bool) Other {
	o := Other{SID: sid.String(), Owns: owns}
	o.Name = o.SID
	if account, domain, _, err := sid.LookupAccount(""); err == nil {
		o.Name = strings.TrimPrefix(domain+`\`+account, `\`)
	}
	return o
}

// harmless reports whether an access list may name sid without letting another user in.
func harmless(sid, us *windows.SID) bool {
	if sid.Equals(us) || sid.IsWellKnown(windows.WinLocalSystemSid) || sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) ||
		sid.IsWellKnown(windows.WinCreatorOwnerSid) || sid.IsWellKnown(windows.WinAccountDomainAdminsSid) {
		return true
	}
	text := sid.String()
	return text == "S-1-3-4" || // the rights of the owner, who is judged
		text == "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464" || // TrustedInstaller
		strings.HasPrefix(text, "S-1-15-") // an app's package, which needs its user's rights, too
}

func user() (*windows.SID, error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return u.User.Sid, nil
}

// Fix is what to type so that o has no rights to path.
func (o Other) Fix(path string) string {
	us, err := user()
	if err != nil {
		return ""
	}
	if o.Owns {
		return `if it is yours, as an administrator: icacls "` + path + `" /setowner *` + us.String()
	}
	full := ":F"
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		full = ":(OI)(CI)F"
	}
	return `icacls "` + path + `" /inheritance:r /grant:r *` + us.String() + full + " *S-1-5-18" + full + " *S-1-5-32-544" + full + " /remove:g *" + o.SID
}

// Protect makes a file or directory private: its access list names this user, the
// system and the administrators, and inherits nothing. What is made in the directory
// gets the same list. A disk without access lists has nothing to protect it with, and a
// share may forbid the change where none is needed.
func Protect(path string, dir bool) error {
	sd, err := private(dir)
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err == nil {
		err = setList(path, list)
	}
	if err == nil || !hasLists(path) {
		return nil
	}
	if found, unread := FindOther(path, Read|Write); unread == nil && found == (Other{}) {
		return nil
	}
	return &fs.PathError{Op: "protect", Path: path, Err: err}
}

func setList(path string, list *windows.ACL) error {
	return windows.SetNamedSecurityInfo(longPath(path), windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}

// AccessAs sets a file's access list to that of another.
func AccessAs(path, as string) error {
	sd, err := windows.GetNamedSecurityInfo(longPath(as), windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err == nil && list != nil { // no list would let everybody in
		err = setList(path, list)
	}
	return err
}

func private(dir bool) (*windows.SECURITY_DESCRIPTOR, error) {
	us, err := user()
	if err != nil {
		return nil, err
	}
	full := "(A;;FA;;;"
	if dir {
		full = "(A;OICI;FA;;;"
	}
	return windows.SecurityDescriptorFromString("D:P" + full + us.String() + ")" + full + "SY)" + full + "BA)")
}

// hasLists reports whether the disk that path is on has access lists.
func hasLists(path string) bool {
	var root [windows.MAX_PATH + 1]uint16
	name, err := windows.UTF16PtrFromString(longPath(path))
	if err == nil {
		err = windows.GetVolumePathName(name, &root[0], uint32(len(root)))
	}
	var flags uint32
	if err == nil {
		err = windows.GetVolumeInformation(&root[0], nil, 0, nil, nil, &flags, nil, 0)
	}
	return err != nil || flags&windows.FILE_PERSISTENT_ACLS != 0
}

// Portable reports whether path is on a removable disk without access lists, such as a
// FAT stick: whoever has the stick has the file, and no setting would change that.
func Portable(path string) bool {
	volume, err := windows.UTF16PtrFromString(filepath.VolumeName(path) + `\`)
	return err == nil && windows.GetDriveType(volume) == windows.DRIVE_REMOVABLE && !hasLists(path)
}

// longPath is what the functions for access lists take for a path that is longer than
// MAX_PATH.
func longPath(path string) string {
	switch {
	case len(path) < windows.MAX_PATH-12 || !filepath.IsAbs(path) || strings.HasPrefix(path, `\\?\`) || strings.HasPrefix(path, `\\.\`):
		return path
	case strings.HasPrefix(path, `\\`):
		return `\\?\UNC` + path[1:]
	}
	return `\\?\` + path
}

// Private makes a new file private.
func Private(f *os.File) error { return Protect(f.Name(), false) }

// attributes are those of a new private file or directory.
func attributes(dir bool) (*windows.SecurityAttributes, error) {
	sd, err := private(dir)
	return &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd}, err
}

// mkdir makes a private directory.
func mkdir(dir string) error {
	how, err := attributes(true)
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(longPath(dir))
	if err == nil {
		err = windows.CreateDirectory(name, how)
	}
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// temporary makes a new file in dir. It is private from the beginning: who opens a file
// before it becomes private can read what is written later.
func temporary(dir, base string) (*os.File, error) {
	how, err := attributes(false)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "."+base+"."+rand.Text())
	name, err := windows.UTF16PtrFromString(longPath(path))
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, how, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
