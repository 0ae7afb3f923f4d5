// Command cobra is a hello world with a command of cobra's: it costs what a Go program
// with commands and flags costs.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "cobra"}
	hello := &cobra.Command{Use: "hello", Run: func(*cobra.Command, []string) { _, _ = os.Stdout.WriteString("hello, world\n") }}
	hello.Flags().String("name", "", "a flag")
	root.AddCommand(hello)
	if root.Execute() != nil {
		os.Exit(2)
	}
}
