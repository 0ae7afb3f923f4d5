// Command jsononly prints the access token in the record that its argument names:
// the least that a Go program with encoding/json does for that. It checks nothing.
package main

import (
	"encoding/json"
	"os"
	"time"
)

func main() {
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	var record struct {
		Login struct {
			AccessToken string    `json:"access_token"`
			LifeSeconds int       `json:"life_seconds"`
			RequestedAt time.Time `json:"requested_at"`
		} `json:"login"`
	}
	l := &record.Login
	if json.Unmarshal(b, &record) != nil || time.Since(l.RequestedAt) > time.Duration(l.LifeSeconds)*time.Second {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(l.AccessToken + "\n")
}
