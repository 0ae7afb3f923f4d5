package seal

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/exactauth/exactauth/internal/fault"
)

// The keyring's item, which for example "secret-tool lookup service exactauth username
// seal" prints. One key seals the records of all profiles of a user. Only the key is in
// the keyring, because keyring items are limited to 2.5 to 3 kB and have no lock.
const (
	keyringService = "exactauth"
	keyringUser    = "seal"
)

// noLogonSession is Windows' ERROR_NO_SUCH_LOGON_SESSION.
const noLogonSession = syscall.Errno(1312)

// keyringLimit bounds each call: a locked keyring waits for a person to type a
// password, and a cron job has no person.
const keyringLimit = 3 * time.Second

// Keyring returns the key in the operating system's keyring: the Secret Service on
// Linux and BSD, the Keychain on macOS, the Credential Manager on Windows. Before each
// call of the keyring it calls ready, which returns why there is none to call.
func Keyring(ready func() error) *Key {
	ask := func(ctx context.Context, call func() (string, error)) (string, error) {
		if err := ready(); err != nil {
			return "", fmt.Errorf("%w; you may still be signed in", err)
		}
		ctx, cancel := context.WithTimeout(ctx, keyringLimit)
		defer cancel()
		text, err := fault.Await(ctx, call)
		switch {
		case err == nil || errors.Is(err, keyring.ErrNotFound):
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			err = fmt.Errorf("the keyring did not answer in %s (locked, or no desktop session?); you may still be signed in", keyringLimit)
		case errors.Is(err, noLogonSession):
			err = errors.New("a service, or a task that runs without the user's password, has no Credential Manager: seal with a key file there (exactauth setup --seal age:FILE)")
		case ctx.Err() == nil:
			err = fmt.Errorf("the keyring says: %v; you may still be signed in", err)
		}
		return text, err
	}
	return &Key{
		place: "the keyring",
		how:   "keyring",
		read: func(ctx context.Context) (string, error) {
			text, err := ask(ctx, func() (string, error) { return keyring.Get(keyringService, keyringUser) })
			if errors.Is(err, keyring.ErrNotFound) {
				err = errNoKey
			}
			return text, err
		},
		create: func(ctx context.Context, identities string) error {
			_, err := ask(ctx, func() (string, error) { return "", keyring.Set(keyringService, keyringUser, identities) })
			return err
		},
	}
}
