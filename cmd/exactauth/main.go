// Command exactauth signs a person in to Exact Online and hands out live access
// tokens to scripts. See the README for what it promises.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/term"
)

// version, commit and date are set by the release build.
var version, commit, date = "dev", "", ""

// agent is the User-Agent of every request, but of those that "exactauth proxy" passes on.
func agent() string { return "exactauth/" + version }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	a := &app{Terminal: term.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv}}
	defer func() { a.interrupts.release() }()
	defer a.close()
	root := a.rootCmd(args)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err != nil && !a.started {
		err = &usageError{err} // cobra's own: an unknown command or flag
		if end := slices.Index(args, "--"); end >= 0 {
			args = args[:end] // what follows belongs to a command to run
		}
		a.JSON = slices.Contains(args, "--json") // the flags after the wrong one were not read
	}
	return a.exit(err)
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  exactauth version`,
		Args:    cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error {
			text := "exactauth " + version
			if commit != "" {
				text += fmt.Sprintf(" (%s, %s)", commit, date)
			}
			return a.Result(map[string]string{"version": version, "commit": commit, "date": date}, text+"\n")
		}),
	}
}
