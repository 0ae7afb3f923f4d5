package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// table is rows of cells, printed in aligned columns.
type table [][]string

func row(cells ...any) []string {
	r := make([]string, len(cells))
	for i, c := range cells {
		r[i] = fmt.Sprint(c)
	}
	return r
}

func (t table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range t {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush() // to memory
	return b.String()
}
