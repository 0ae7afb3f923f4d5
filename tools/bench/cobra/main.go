// Command cobra is what a Go program costs that has its commands from cobra.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "cobra", Short: "A program with one command"}
	hello := &cobra.Command{
		Use:   "hello",
		Short: "Print a greeting",
		Run:   func(*cobra.Command, []string) { _, _ = os.Stdout.WriteString("hello, world\n") },
	}
	hello.Flags().String("name", "", "a flag")
	root.AddCommand(hello)
	if root.Execute() != nil {
		os.Exit(2)
	}
}
