//go:build linux || windows

// Package program builds exactauth and runs it against the simulator, for the tools that
// look for lost logins.
package program

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
)

// RedirectURI leads nowhere: the code is pasted.
const RedirectURI = "https://exactauth.test:8484/callback"

// TokenMark begins every token and code of the simulator.
const TokenMark = "stampNL001."

// Build builds commands of this module. programs has their directories by path.
func Build(programs map[string]string) error {
	_, source, _, _ := runtime.Caller(0) // this file, in the module that this program was built from
	for path, name := range programs {
		cmd := exec.Command("go", "build", "-o", path, "github.com/exactauth/exactauth/cmd/"+name)
		cmd.Dir, cmd.Env = filepath.Dir(source), append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build in %s: %w\n%s", cmd.Dir, err, text)
		}
	}
	return nil
}

// Setup is the call that sets up a profile at a simulator.
func Setup(address string) []string {
	return []string{"setup", "--base-url", address, "--client-id", exactsim.ClientID,
		"--redirect-uri", RedirectURI, "--listen", "none", "--client-secret-file", "-"}
}

// Input is what a person types after a call: a client secret, or a code that is pasted.
func Input(sim *exactsim.Sim, call string) string {
	switch call {
	case "setup":
		return exactsim.ClientSecret + "\n"
	case "login":
		return sim.NewCode(exactsim.ClientID, exactsim.AnnaID, RedirectURI) + "\n"
	}
	return ""
}

// HasSecret reports whether there is a token, a code or the client secret in b.
func HasSecret(b []byte) bool {
	return bytes.Contains(b, []byte(TokenMark)) || bytes.Contains(b, []byte(exactsim.ClientSecret))
}

// Process is one run of a program.
type Process struct {
	*exec.Cmd
	Out, Err bytes.Buffer

	Code   int  // as a shell has it
	Killed bool // by a signal
	Hung   bool

	done context.CancelFunc
}

// Command prepares a process. After limit it counts as one that hangs, and is ended.
func Command(limit time.Duration, env []string, stdin string, args ...string) *Process {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p := &Process{Cmd: exec.CommandContext(ctx, args[0], args[1:]...), done: cancel}
	p.Env, p.Stdin, p.Stdout, p.Stderr = env, strings.NewReader(stdin), &p.Out, &p.Err
	p.Cancel = func() error {
		p.Hung = true
		if runtime.GOOS == "windows" {
			return p.Process.Kill()
		}
		return p.Process.Signal(syscall.SIGQUIT) // a Go program prints where it hangs
	}
	p.WaitDelay = 5 * time.Second
	return p
}

// End waits for the end of a process that has started.
func (p *Process) End() {
	_ = p.Wait() // the state says how it ended
	p.done()
	status, _ := p.ProcessState.Sys().(syscall.WaitStatus)
	if p.Code = status.ExitStatus(); status.Signaled() {
		p.Code, p.Killed = 128+int(status.Signal()), true
	}
}

// crashed finds what the Go runtime prints when a program crashes or races.
var crashed = regexp.MustCompile(`(?m)^(panic: |goroutine \d+ \[|fatal error: |WARNING: DATA RACE)`)

// Faults returns what no process may do, whatever happens to it.
func (p *Process) Faults(allowed []int) (found []string) {
	add := func(is bool, what string, args ...any) {
		if is {
			found = append(found, fmt.Sprintf("%q ", strings.Join(p.Args[1:], " "))+fmt.Sprintf(what, args...))
		}
	}
	crash := crashed.FindString(p.Err.String())
	add(p.Hung, "hung")
	add(!slices.Contains(allowed, p.Code), "ended with %d, want one of %d", p.Code, allowed)
	add(p.Code > 0 && p.Code < 128 && p.Err.Len() == 0, "ended with %d and wrote nothing on stderr", p.Code)
	add(crash != "", "wrote %q on stderr", crash)
	add(HasSecret(p.Err.Bytes()), "wrote a secret on stderr")
	return found
}

// Update changes a record in a store.
func Update(ctx context.Context, s record.Store, name string, change func(*record.Record)) error {
	return s.Update(ctx, name, func(_ context.Context, old []byte) ([]byte, error) {
		r, err := record.Decode(old)
		if err != nil {
			return nil, err
		}
		change(r)
		return r.Encode()
	})
}

// Age makes a record look as it does when this machine's clock has gone on by d. The
// server's date does not change.
func Age(r *record.Record, d time.Duration) { shift(reflect.ValueOf(r).Elem(), -d) }

func shift(v reflect.Value, by time.Duration) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		if t := v.Interface().(time.Time); !t.IsZero() {
			v.Set(reflect.ValueOf(t.Add(by)))
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		shift(v.Elem(), by)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "ServerDate" && v.Field(i).CanSet() {
				shift(v.Field(i), by)
			}
		}
	}
}

// Table counts by row and column.
type Table struct {
	columns []string
	counts  map[string]map[string]int
}

// NewTable returns an empty table.
func NewTable(columns ...string) *Table { return &Table{columns, map[string]map[string]int{}} }

// Count adds n to a cell and returns what it has then.
func (t *Table) Count(row, column string, n int) int {
	if t.counts[row] == nil {
		t.counts[row] = map[string]int{}
	}
	t.counts[row][column] += n
	return t.counts[row][column]
}

// Print prints those of the rows that have counts.
func (t *Table) Print(w io.Writer, title string, rows []string) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%-40s\t%s\t\n", title, strings.Join(t.columns, "\t"))
	for _, row := range rows {
		if t.counts[row] == nil {
			continue
		}
		fmt.Fprintf(table, "%-40s\t", row)
		for _, column := range t.columns {
			fmt.Fprintf(table, "%d\t", t.counts[row][column])
		}
		fmt.Fprintln(table)
	}
	table.Flush()
}
