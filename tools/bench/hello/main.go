// Command hello is what any Go program costs.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("hello, world\n") }
