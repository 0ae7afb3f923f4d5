// Command hello prints a line: it costs what every Go program costs.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("hello, world\n") }
