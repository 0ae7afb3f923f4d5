package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/term"
)

// helpWidth is that of a terminal which nobody has made wider.
const helpWidth = 80

// showHelp prints a command's help. It is cobra's own but for what that cannot do:
// it keeps to the width, gives every command an example, and says of topics how
// they are asked for. Templates would do it too, but a program that links them is
// a fifth larger and slower to start (see exactauth's page.go).
func showHelp(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	text = wrapped(text) + "\n\n"
	if cmd.Runnable() || cmd.HasSubCommands() {
		text += usage(cmd)
	}
	// A reader that went away learns nothing anyway.
	_, _ = fmt.Fprint(cmd.OutOrStdout(), text)
}

func usage(cmd *cobra.Command) string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if example := exampleOf(cmd); example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", example)
	}
	name := 0 // as wide as the widest
	for _, c := range cmd.Commands() {
		name = max(name, len(c.Name()))
	}
	for _, group := range append(cmd.Groups(), &cobra.Group{Title: "Commands:"}) {
		var rows term.Table
		for _, c := range cmd.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() {
				rows.Add(fmt.Sprintf("  %-*s", name, c.Name()), c.Short)
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n%s\n%s", group.Title, rows)
		}
	}
	for name, text := range map[string]string{"help": "show this help", "version": "print the version"} {
		if f := cmd.Flags().Lookup(name); f != nil {
			f.Usage = text
		}
	}
	if cmd.HasAvailableLocalFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", flagUsages(cmd.LocalFlags().FlagUsagesWrapped(helpWidth)))
	}
	if cmd.HasAvailableInheritedFlags() {
		fmt.Fprintf(&b, "\nGlobal Flags:\n%s", flagUsages(cmd.InheritedFlags().FlagUsagesWrapped(helpWidth)))
	}
	var topics term.Table
	for _, c := range cmd.Commands() {
		if c.IsAdditionalHelpTopicCommand() {
			topics.Add("  "+cmd.CommandPath()+" help "+c.Name(), c.Short)
		}
	}
	if len(topics) > 0 {
		fmt.Fprintf(&b, "\nMore help:\n%s", topics)
	}
	if cmd.HasAvailableSubCommands() {
		help := strings.TrimSpace(cmd.Root().Name() + " help " + strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "))
		if !cmd.HasParent() {
			help = cmd.Name() + " help"
		}
		fmt.Fprintf(&b, "\n\"%s COMMAND\" tells more of a command.\n", help)
	}
	return b.String()
}

func flagUsages(text string) string { return strings.TrimRight(text, " \n") + "\n" }

// exampleOf is a command's example. Those that cobra makes itself have none.
func exampleOf(cmd *cobra.Command) string {
	if cmd.Example != "" || !cmd.HasParent() || cmd.Parent().Name() != "completion" {
		return cmd.Example
	}
	return map[string]string{
		"bash":       `  source <(exactauth completion bash)`,
		"zsh":        `  exactauth completion zsh > "${fpath[1]}/_exactauth"`,
		"fish":       `  exactauth completion fish | source`,
		"powershell": `  exactauth completion powershell | Out-String | Invoke-Expression`,
	}[cmd.Name()]
}

// wrapped fills each paragraph anew. One that has an indented line is a list or
// something to type, and stays.
func wrapped(text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, " ") || strings.HasPrefix(p, "\t") || strings.Contains(p, "\n ") || strings.Contains(p, "\n\t") {
			continue
		}
		paragraphs[i] = fill(p, "")
	}
	return strings.Join(paragraphs, "\n\n")
}

// fill breaks text into lines that fit behind indent. The first line is told
// without it, since something else can stand there.
func fill(text, indent string) string {
	var b strings.Builder
	used := len(indent)
	for i, word := range strings.Fields(text) {
		n := term.Width(word)
		switch {
		case i == 0:
		case used+1+n > helpWidth:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
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

// seeHelp points from a wrong command line to the help of its command.
func seeHelp(cmd *cobra.Command, err error) error {
	return &hinted{err, fmt.Sprintf("see %q", cmd.CommandPath()+" --help")}
}

// hintAtArgs has each command without subcommands say which argument it does not
// take, and where it says what it takes.
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
