// Command steps does what exactauth-front does with a live token, and stops after
// as many steps as its first argument has letters.
package main

import (
	"context"
	"os"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/stored"
	"github.com/exactauth/exactauth/internal/tokenformat"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

func main() {
	last := len(os.Args[1])
	if last == 0 {
		return
	}
	dir, err := config.Dir(os.Getenv)
	check(err == nil)
	text, err := config.Read(dir)
	check(err == nil)
	if last == 1 {
		return
	}
	conf, err := config.Parse(text)
	check(err == nil)
	if last == 2 {
		return
	}
	dir, err = config.StateDir(os.Getenv)
	check(err == nil)
	record, err := tokenstore.NewFiles(dir, nil).Read(context.Background(), conf.Default)
	check(err == nil)
	if last == 3 {
		return
	}
	r, err := stored.Decode(record)
	check(err == nil)
	check(r.Login.Times().Fresh(time.Now()))
	if last == 4 {
		return
	}
	out, err := tokenformat.Write("token", tokenformat.Token{AccessToken: r.Login.AccessToken})
	check(err == nil)
	_, err = os.Stdout.WriteString(out)
	check(err == nil)
}

// check ends a program that does not do what is to be measured.
func check(ok bool) {
	if !ok {
		os.Exit(1)
	}
}
