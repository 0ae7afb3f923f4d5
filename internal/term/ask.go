package term

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/exactauth/exactauth/internal/fault"
)

// ErrNoAnswer means that the input ended before a question was answered.
var ErrNoAnswer = fault.Kind(fault.ErrConfig, "no answer")

// Ask asks a question and returns the line that is typed, without the blanks around
// it. It ends at once when ctx does.
func (t *Terminal) Ask(ctx context.Context, question string) (string, error) {
	if t.answers == nil {
		t.answers = bufio.NewReader(t.In)
	}
	fmt.Fprint(t.Err, question)
	line, err := answer(ctx, func() (string, error) { return t.answers.ReadString('\n') })
	return strings.TrimSpace(line), err
}

// AskSecret asks a question and does not show the line that is typed.
func (t *Terminal) AskSecret(ctx context.Context, question string) (string, error) {
	ask := func() { fmt.Fprint(t.Err, question) }
	ask()
	restore, err := silence(t.In, true, ask)
	if err != nil {
		return "", err
	}
	defer restore() // after an error the read goes on
	line, err := answer(ctx, func() (string, error) {
		b, err := term.ReadPassword(int(t.In.Fd()))
		return string(b), err
	})
	t.Say("")
	return line, err
}

// Confirm asks a question that Enter answers with yes.
func (t *Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	line, err := t.Ask(ctx, question+" [Y/n] ")
	return err == nil && (line == "" || isYes(line)), err
}

// Permit asks before something that cannot be undone: Enter answers with no.
func (t *Terminal) Permit(ctx context.Context, question string) (bool, error) {
	line, err := t.Ask(ctx, question+" [y/N] ")
	return err == nil && isYes(line), err
}

// isYes knows English and Dutch.
func isYes(line string) bool {
	return slices.Contains([]string{"y", "yes", "j", "ja"}, strings.ToLower(line))
}

// Choose lists options and returns the index of the one that is chosen, by its number
// or by one of its cells. Enter chooses the first.
func (t *Terminal) Choose(ctx context.Context, question string, options Table) (int, error) {
	var numbered Table
	for i, o := range options {
		numbered = append(numbered, append([]string{fmt.Sprintf("  %d", i+1)}, o...))
	}
	t.Say("%s", strings.TrimSuffix(numbered.String(), "\n"))
	for {
		line, err := t.Ask(ctx, "\n"+question+" [1]: ")
		if err != nil || line == "" {
			return 0, err
		}
		for i, o := range options {
			if line == fmt.Sprint(i+1) || slices.ContainsFunc(o, func(name string) bool { return strings.EqualFold(line, name) }) {
				return i, nil
			}
		}
		t.Say("Type a number from 1 to %d.", len(options))
	}
}

// answer waits for a read from the terminal, which cannot be called off, or for the
// end of ctx.
func answer(ctx context.Context, read func() (string, error)) (string, error) {
	line, err := fault.Await(ctx, read)
	if err != nil && ctx.Err() == nil {
		err = fault.Wrap(ErrNoAnswer, err, "the input ended")
	}
	return line, err
}
