//go:build !man

package main

import "github.com/spf13/cobra"

// manCmd is nil where there are no man pages to make; see man.go.
func (a *app) manCmd() *cobra.Command { return nil }
