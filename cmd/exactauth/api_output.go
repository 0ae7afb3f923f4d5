package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
)

// This file prints what "api" gets: bytes as they are, records as lines of JSON or as
// CSV, all through jq if that is asked for.

type output struct {
	to      io.Writer
	lines   *bufio.Writer // of records
	csv     *csv.Writer   // into lines; nil for JSON
	columns []string      // of the CSV; nil before the first record
}

// openOutput returns where answers go. finish must be called with the error of the work;
// it returns what the command ends with.
func (a *app) openOutput(ctx context.Context, o apiOptions) (out *output, finish func(error) error, err error) {
	out, finish = &output{to: a.Results()}, func(err error) error { return err }
	if o.jq != "" {
		out.to, finish, err = a.startJQ(ctx, o.jq)
	}
	out.lines = bufio.NewWriterSize(out.to, 32<<10)
	if o.csv {
		out.csv = csv.NewWriter(out.lines)
	}
	return out, finish, err
}

// print prints the records of a page, each with its division if that is not 0, before the
// next page is requested.
func (o *output) print(page []json.RawMessage, division int) error {
	var failed error
	for _, record := range page {
		if failed = o.printRecord(record, division); failed != nil {
			break
		}
	}
	if o.csv != nil {
		o.csv.Flush() // an error of the writer stays, and is that of lines
	}
	return cmp.Or(o.lines.Flush(), failed)
}

func (o *output) printRecord(record json.RawMessage, division int) error {
	var line bytes.Buffer
	if err := json.Compact(&line, record); err != nil {
		return err
	}
	if rest, object := strings.CutPrefix(line.String(), "{"); division != 0 && object && !hasDivision(record) {
		line.Reset()
		fmt.Fprintf(&line, `{"Division":%d`, division)
		if rest != "}" {
			line.WriteByte(',')
		}
		line.WriteString(rest)
	}
	if o.csv != nil {
		return o.printCSV(line.Bytes())
	}
	line.WriteByte('\n')
	_, err := o.lines.Write(line.Bytes())
	return err
}

func hasDivision(record json.RawMessage) bool {
	var known map[string]json.RawMessage
	return bytes.Contains(record, []byte(`"Division"`)) && json.Unmarshal(record, &known) == nil && known["Division"] != nil
}

// printCSV prints a record as a line of CSV. The first record decides about the columns:
// all its properties but those of the protocol, __metadata and links to other lists.
func (o *output) printCSV(record []byte) error {
	names, values, err := properties(record)
	if err != nil {
		return fault.New(fault.ErrConfig, "--csv: a record is not an object")
	}
	ofProtocol := func(i int) bool {
		return strings.HasPrefix(names[i], "__") || strings.HasPrefix(string(values[i]), `{"__deferred":`)
	}
	if o.columns == nil {
		for i, name := range names {
			if !ofProtocol(i) {
				o.columns = append(o.columns, name)
			}
		}
		if err := o.csv.Write(o.columns); err != nil {
			return err
		}
	}
	row := make([]string, len(o.columns))
	for i, name := range names {
		if at := slices.Index(o.columns, name); at >= 0 {
			row[at] = cell(values[i])
		} else if !ofProtocol(i) {
			return fmt.Errorf("--csv: a record has %q, which the first one lacks; choose columns with $select", fault.Printable(name))
		}
	}
	return o.csv.Write(row)
}

// properties returns the properties of an object in their order.
func properties(object []byte) (names []string, values []json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, nil, errors.New("not an object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		names, values = append(names, name.(string)), append(values, value)
	}
	return names, values, nil
}

// cell returns a value as CSV has it: text without quotes, a date of OData
// (/Date(milliseconds)/) as spreadsheets read it, null as nothing, and an object or a
// list as JSON.
func cell(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil { // a number, a list, ...
		return string(value)
	}
	if inner, ok := strings.CutPrefix(text, "/Date("); ok {
		number, _ := strings.CutSuffix(inner, ")/")
		if ms, err := strconv.ParseInt(number, 10, 64); err == nil && number != inner {
			at := time.UnixMilli(ms).UTC()
			return strings.TrimSuffix(at.Format("2006-01-02 15:04:05"), " 00:00:00")
		}
	}
	return text
}

// jqProgram is not linked in. A Go version of jq made each start of the program take 15%
// longer and the program 0.9 MB larger, whether it is used or not.
const jqProgram = "jq"

// jqCommand returns jq for an expression. A blank before the expression stops it from
// being read as a flag.
func jqCommand(ctx context.Context, expression string, flags ...string) (*exec.Cmd, error) {
	path, err := findCommand(jqProgram)
	if err != nil {
		return nil, &hinted{usagef("--jq: the program jq is not found"), "install it: https://jqlang.org/download"}
	}
	return exec.CommandContext(ctx, path, append(flags, " "+expression)...), nil
}

// checkJQ finds mistakes in an expression before a request is sent.
func checkJQ(ctx context.Context, expression string) error {
	cmd, err := jqCommand(ctx, "def expression: "+expression+"\n; empty", "-n")
	if err != nil {
		return err
	}
	if message, err := cmd.CombinedOutput(); err != nil {
		return usagef("--jq: %s", fault.Printable(string(message)))
	}
	return nil
}

// startJQ starts jq. What is written to it is filtered to standard output.
func (a *app) startJQ(ctx context.Context, expression string) (io.Writer, func(error) error, error) {
	cmd, err := jqCommand(ctx, expression, "--unbuffered", "-c", "-r")
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdout, cmd.Stderr = a.Out, a.Err
	if term.IsTerminal(a.Out) {
		cmd.Stdout = a.Results()
	}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, err
	}
	return in, func(err error) error {
		in.Close()
		ended := cmd.Wait()
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.Is(err, syscall.EPIPE), errors.As(ended, &exit) && exit.ExitCode() < 0:
			return cmp.Or(err, ended) // jq was killed, by a reader that had enough or with us
		case ended != nil:
			return fmt.Errorf("--jq: jq: %v", ended) // its exit code is not ours
		}
		return nil // also if the expression stopped jq before the last record
	}, nil
}
