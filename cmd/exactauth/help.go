package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/term"
)

// helpWidth is the width of a terminal that was not resized.
const helpWidth = 80

// showHelp prints a command's help: cobra's own, which cannot keep to a width and lists
// topics as commands. Templates could do both, but a program that links them is a fifth
// larger and slower to start.
func showHelp(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	width := helpWidth
	if f, is := cmd.OutOrStdout().(*os.File); is {
		width = term.Columns(f)
	}
	text = wrapped(text, width) + "\n\n"
	if cmd.Runnable() || cmd.HasSubCommands() {
		text += usage(cmd, width)
	}
	_, _ = fmt.Fprint(cmd.OutOrStdout(), term.Fold(text, width)) // a reader that has gone needs no error
}

func usage(cmd *cobra.Command, width int) string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	var list term.Table
	for _, group := range append(cmd.Groups(), &cobra.Group{Title: "Commands:"}) {
		title := group.Title
		for _, c := range cmd.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() && c.Name() != "help" {
				if title != "" {
					list.Add("")
					list.Add(title)
				}
				list.Add("  "+c.Name(), c.Short)
				title = ""
			}
		}
	}
	b.WriteString(list.String())
	for _, flags := range []struct {
		title string
		*pflag.FlagSet
	}{{"Flags:", cmd.LocalFlags()}, {"Global Flags:", cmd.InheritedFlags()}} {
		if flags.HasAvailableFlags() {
			fmt.Fprintf(&b, "\n%s\n%s\n", flags.title, strings.TrimRight(flags.FlagUsagesWrapped(width), " \n"))
		}
	}
	_, inner, _ := strings.Cut(cmd.CommandPath()+" ", " ")
	help := cmd.Root().Name() + " help " + inner
	var topics term.Table
	for _, c := range cmd.Commands() {
		if c.IsAdditionalHelpTopicCommand() {
			topics.Add("  "+help+c.Name(), c.Short)
		}
	}
	if len(topics) > 0 {
		fmt.Fprintf(&b, "\nMore help:\n%s", topics)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nRun \"%sCOMMAND\" for details.\n", help)
	}
	return b.String()
}

// wrapped breaks each paragraph into lines of that width. A paragraph with an
// indented line is a list or something to type, and stays as it is.
func wrapped(text string, width int) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		if strings.ContainsAny(p[:min(len(p), 1)], " \t") || strings.Contains(p, "\n ") || strings.Contains(p, "\n\t") {
			continue
		}
		paragraphs[i] = fill(p, "", width)
	}
	return strings.Join(paragraphs, "\n\n")
}

// fill is term.Fill for a text.
func fill(text, indent string, width int) string {
	return term.Fill(strings.Fields(text), indent, width)
}

// finishCobra changes the commands that cobra makes itself, help and completion: a topic
// or shell that they do not know is an error, and each has an example.
func finishCobra(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Long, cmd.Run = "", nil
			cmd.Example = "  exactauth help login\n  exactauth help exit-codes"
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				topic, _, err := root.Find(args)
				if err != nil || topic == root && len(args) > 0 {
					return &hinted{usagef("unknown help topic %q", strings.Join(args, " ")), "for a list of topics: exactauth help"}
				}
				topic.InitDefaultHelpFlag()
				return topic.Help()
			}
			names := cmd.ValidArgsFunction
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				offers, directive := names(cmd, args, begun)
				if len(args) == 0 {
					offers = append(offers, "exit-codes", "environment")
				}
				return offers, directive
			}
		case "completion":
			cmd.Short = "Print the script for your shell's completion"
			cmd.Long = "Prints the script that completes commands, flags and profiles in your shell. The\nhelp of each shell says where to put it. Packages install it already."
			cmd.Example = "  exactauth completion bash --help"
			cmd.Args = unknownCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				about := shells[shell.Name()]
				shell.Short, shell.Long, shell.Example = "Print the script for "+about.name, about.long, about.example
				if generate := shell.RunE; shell.Name() == "bash" {
					shell.RunE = func(cmd *cobra.Command, args []string) error {
						if err := generate(cmd, args); err != nil {
							return err
						}
						_, err := io.WriteString(cmd.OutOrStdout(), bashWords)
						return err
					}
				}
			}
		}
	}
}

func environmentTopic() *cobra.Command {
	text := `Flags override these variables, and they override config.toml. With client id,
client secret and region or base URL here no configuration file is needed.

`
	add := func(name, meaning string) {
		text += fmt.Sprintf("  %s\n      %s\n", name, fill(meaning, "      ", helpWidth))
	}
	for _, s := range config.Table() {
		if s.Env != "" {
			add(s.Env, s.Help)
		}
	}
	text += "\nThe others:\n\n"
	for _, v := range [][2]string{
		{"EXACTAUTH_PROFILE", "the profile to use"},
		{"EXACTAUTH_CLIENT_SECRET, EXACTAUTH_CLIENT_SECRET_FILE", "the client secret, or a file with it"},
		{"EXACTAUTH_CONFIG_DIR, EXACTAUTH_STATE_DIR", "the directories of the configuration and of the tokens, in place of the system's"},
		{"BROWSER", "commands that open the sign-in page if the profile names none, with : between them (; on Windows)"},
		{"HTTPS_PROXY, NO_PROXY", "a proxy for all requests, as http://USER:PASSWORD@HOST:PORT, and the servers that need none"},
		{"SSL_CERT_FILE, SSL_CERT_DIR", "certificates of the authorities to trust, in place of the system's; not on Windows and macOS"},
		{"NO_COLOR, CLICOLOR, CLICOLOR_FORCE", "whether results on a terminal have colours"},
		{"LC_ALL, LC_MESSAGES, LANG", "nl: the pages at the end of a sign-in are Dutch, if the browser asks for neither Dutch nor English"},
	} {
		add(v[0], v[1])
	}
	return &cobra.Command{Use: "environment", Short: "The variables that exactauth reads", Long: strings.TrimSpace(text)}
}

// unknownCommand is the error of a command that only has subcommands, for an argument.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	_, name, _ := strings.Cut(cmd.CommandPath()+" "+args[0], " ")
	err := fmt.Errorf("unknown command %q", name)
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return &hinted{err, fmt.Sprintf("maybe %q", cmd.CommandPath()+" "+near[0])}
	}
	return seeHelp(cmd, err)
}

// seeHelp adds to the error of a wrong command line where the command's help is.
func seeHelp(cmd *cobra.Command, err error) error {
	return &hinted{err, fmt.Sprintf("see %q", cmd.CommandPath()+" --help")}
}

// hintAtArgs makes the errors of wrong arguments say which argument it is and where the
// help is.
func hintAtArgs(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		hintAtArgs(c)
	}
	check := cmd.Args
	if check == nil || cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err != nil && len(args) > 0 {
			err = fmt.Errorf("unexpected %q", args[len(args)-1])
		}
		if err != nil {
			return seeHelp(cmd, err)
		}
		return nil
	}
}
