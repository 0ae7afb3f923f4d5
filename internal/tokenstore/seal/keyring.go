package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zalando/go-keyring"
)

// The keyring's item, which for example "secret-tool lookup service exactauth username
// seal" prints. One key seals the records of all profiles of a user. Only the key is in
// the keyring, because keyring items are limited to 2.5 to 3 kB and have no lock.
const (
	keyringService = "exactauth"
	keyringUser    = "seal"
)

// keyringLimit bounds each call: a locked keyring waits for a person to type a
// password, and a cron job has no person.
const keyringLimit = 3 * time.Second

// Keyring returns the key in the operating system's keyring: the Secret Service on
// Linux and BSD, the Keychain on macOS, the Credential Manager on Windows. Before each
// call of the keyring it calls ready, which returns why there is none to call.
func Keyring(ready func() error) *Key {
	ask := func(ctx context.Context, call func() error) error {
		if err := ready(); err != nil {
			return fmt.Errorf("%w; you may still be signed in", err)
		}
		ctx, cancel := context.WithTimeout(ctx, keyringLimit)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- call() }() // which cannot be cancelled
		select {
		case err := <-done:
			if err == nil || errors.Is(err, keyring.ErrNotFound) {
				return err
			}
			return fmt.Errorf("the keyring says: %v; you may still be signed in", err)
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the keyring did not answer in %s (locked, or no desktop session?); you may still be signed in", keyringLimit)
		}
	}
	return &Key{
		place: "the keyring",
		how:   "keyring",
		read: func(ctx context.Context) (string, error) {
			text := make(chan string, 1)
			err := ask(ctx, func() error {
				got, err := keyring.Get(keyringService, keyringUser)
				text <- got
				return err
			})
			if errors.Is(err, keyring.ErrNotFound) {
				return "", errNoKey
			} else if err != nil {
				return "", err
			}
			return <-text, nil
		},
		create: func(ctx context.Context, identities string) error {
			return ask(ctx, func() error { return keyring.Set(keyringService, keyringUser, identities) })
		},
	}
}
