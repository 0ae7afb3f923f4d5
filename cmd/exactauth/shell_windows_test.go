package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// runTests runs the tests, with the commands on the PATH: links to this program, of which testscript.Main would make
// as many copies. Windows has no POSIX shell, so scripts find one here, with the tools that they use.
func runTests(m *testing.M, commands map[string]func()) {
	commands["sh"] = shMain
	for _, name := range []string{"cat", "cp", "echo", "grep", "sed", "sleep", "true"} {
		commands[name] = toolMain
	}
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	if command := commands[name]; command != nil {
		os.Args[0] = name
		command()
		os.Exit(0)
	}
	os.Exit(runWith(m, commands))
}

func runWith(m *testing.M, commands map[string]func()) int {
	self, err := os.Executable()
	shellCheck(err)
	dir, err := os.MkdirTemp(filepath.Dir(self), "commands-") // on the same disk, for links
	shellCheck(err)
	defer os.RemoveAll(dir)
	for name := range commands {
		shellCheck(os.Link(self, filepath.Join(dir, name+".exe")))
	}
	shellCheck(os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")))
	return m.Run()
}

// shMain: sh [-FLAGS] [-c TEXT | FILE] [ARG...].
func shMain() {
	args, flags := os.Args[1:], []string{}
	text, name := "", ""
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		isText := strings.Contains(args[0], "c")
		if rest := strings.ReplaceAll(args[0], "c", ""); rest != "-" {
			flags = append(flags, rest)
		}
		args = args[1:]
		if isText && len(args) > 0 {
			text, args = args[0], args[1:]
		}
	}
	if text == "" && len(args) > 0 {
		b, err := os.ReadFile(args[0])
		shellCheck(err)
		name, text, args = args[0], string(b), args[1:]
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), name)
	shellCheck(err)
	r, err := interp.New(interp.StdIO(os.Stdin, os.Stdout, os.Stderr), interp.ExecHandlers(withTools),
		interp.Params(append(append(flags, "--"), args...)...))
	shellCheck(err)
	err = r.Run(context.Background(), file)
	if code := interp.ExitStatus(0); errors.As(err, &code) {
		os.Exit(int(code))
	}
	shellCheck(err)
}

func shellCheck(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sh:", err)
		os.Exit(2)
	}
}

// toolMain runs a tool that is called by its name.
func toolMain() {
	code, err := runTool(os.Args, "", os.Environ(), os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
	}
	os.Exit(code)
}

// withTools runs the tools in the shell's own process, and everything else as it is.
func withTools(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		c := interp.HandlerCtx(ctx)
		var env []string
		for name, v := range c.Env.Each {
			if v.Exported && v.IsSet() {
				env = append(env, name+"="+v.String())
			}
		}
		code, err := runTool(args, c.Dir, env, c.Stdin, c.Stdout)
		if errors.Is(err, errNoTool) {
			return next(ctx, args)
		}
		if err != nil {
			fmt.Fprintln(c.Stderr, args[0]+":", err)
		}
		if code != 0 {
			return interp.ExitStatus(code)
		}
		return nil
	}
}

var errNoTool = errors.New("no tool of the shell's")

// runTool is as much of some Unix tools as the scripts need.
func runTool(args []string, dir string, env []string, in io.Reader, out io.Writer) (code int, err error) {
	name, args := args[0], args[1:]
	var flags []string
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flags, args = append(flags, args[0]), args[1:]
		if name == "head" && len(args) > 0 && flags[len(flags)-1] == "-n" {
			flags[len(flags)-1], args = "-"+args[0], args[1:]
		}
	}
	abs := func(file string) string {
		if filepath.IsAbs(file) {
			return file
		}
		return filepath.Join(dir, file)
	}
	input := func(files []string) ([]byte, error) {
		if len(files) == 0 {
			return io.ReadAll(in)
		}
		var all bytes.Buffer
		for _, file := range files {
			b, err := os.ReadFile(abs(file))
			if err != nil {
				return nil, err
			}
			all.Write(b)
		}
		return all.Bytes(), nil
	}
	fail := func(err error) (int, error) { return 1, err }
	switch name {
	case "env":
		fmt.Fprintln(out, strings.Join(env, "\n"))
	case "sleep":
		d, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return fail(err)
		}
		time.Sleep(time.Duration(d * float64(time.Second)))
	case "true":
	case "echo":
		fmt.Fprintln(out, strings.Join(os.Args[1:], " "))
	case "cat":
		if len(args) == 0 {
			_, err = io.Copy(out, in)
			return 0, err
		}
		b, err := input(args)
		if err != nil {
			return fail(err)
		}
		_, _ = out.Write(b)
	case "rm":
		for _, file := range args {
			if err := os.Remove(abs(file)); err != nil && len(flags) == 0 {
				return fail(err)
			}
		}
	case "chmod": // only the attribute "read-only" is known here
	case "mv":
		if err := os.Rename(abs(args[0]), abs(args[1])); err != nil {
			return fail(err)
		}
	case "cp": // -r FROM TO, of a directory
		if err := os.CopyFS(abs(args[1]), os.DirFS(abs(args[0]))); err != nil {
			return fail(err)
		}
	case "sort": // -u
		b, err := input(args)
		if err != nil {
			return fail(err)
		}
		for _, line := range slices.Compact(slices.Sorted(strings.Lines(string(b)))) {
			fmt.Fprint(out, line)
		}
	case "head":
		b, err := input(args)
		if err != nil {
			return fail(err)
		}
		n, err := strconv.Atoi(strings.Trim(strings.Join(flags, ""), "-"))
		if err != nil {
			return fail(err)
		}
		for line := range strings.Lines(string(b)) {
			if n--; n < 0 {
				break
			}
			fmt.Fprint(out, line)
		}
	case "wc":
		b, err := input(args)
		if err != nil {
			return fail(err)
		}
		n := len(b)
		if len(flags) > 0 && flags[0] == "-l" {
			n = bytes.Count(b, []byte("\n"))
		}
		fmt.Fprintln(out, n)
	case "grep":
		return grep(flags, args, out, input)
	case "sed": // s/…/…/ alone
		parts := strings.Split(args[0][1:], args[0][1:2])
		what, err := regexp.Compile(basicRegexp(parts[1]))
		if err != nil {
			return fail(err)
		}
		b, err := input(args[1:])
		if err != nil {
			return fail(err)
		}
		with := strings.NewReplacer(`\1`, "${1}").Replace(parts[2])
		for line := range strings.Lines(string(b)) {
			fmt.Fprint(out, what.ReplaceAllString(line, with))
		}
	default:
		return 0, errNoTool
	}
	return 0, nil
}

// basicRegexp rewrites the groups of a basic regular expression of POSIX.
func basicRegexp(s string) string {
	return strings.NewReplacer(`\(`, "(", `\)`, ")", `\|`, "|", "(", `\(`, ")", `\)`, "|", `\|`, "+", `\+`).Replace(s)
}

func grep(flags, args []string, out io.Writer, input func([]string) ([]byte, error)) (int, error) {
	has := func(c string) bool { return strings.Contains(strings.Join(flags, ""), c) }
	pattern := args[0]
	if !has("E") {
		pattern = basicRegexp(pattern)
	}
	what, err := regexp.Compile(pattern)
	if err != nil {
		return 2, err
	}
	b, err := input(args[1:])
	if err != nil {
		return 2, err
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if found := what.FindString(line); what.MatchString(line) != has("v") {
			n++
			switch {
			case has("q"), has("c"):
			case has("o"):
				fmt.Fprintln(out, found)
			default:
				fmt.Fprintln(out, line)
			}
		}
	}
	if has("c") {
		fmt.Fprintln(out, n)
	}
	if n == 0 {
		return 1, nil
	}
	return 0, nil
}
