//go:build !windows

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// runTests runs the tests, with the commands on the PATH.
func runTests(m *testing.M, commands map[string]func()) { testscript.Main(m, commands) }
