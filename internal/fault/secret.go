package fault

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a client secret, token or code that does not get printed by
// mistake: every fmt verb and slog show "[secret]", and encoding it as JSON or
// text fails instead of masking, since a masked token in a store would be a
// login destroyed.
//
// It holds a pointer because fmt does not call methods on unexported fields: a
// string there would show under %+v, a pointer shows an address.
type Secret struct{ p *string }

// NewSecret returns a secret that reveals s. An empty s is the zero Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.p == nil }

const masked = "[secret]"

// Format prints a mask, whatever the verb and flags.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, masked) }

// LogValue logs a mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText always fails; see Secret.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret cannot be encoded; reveal it where that is meant")
}
