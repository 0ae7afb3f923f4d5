package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// verdict is a state of the Monitoring Plugins' guidelines, whose exit code is its
// number (monitoring-plugins.org/doc/guidelines.html, plugin return codes).
type verdict int

const (
	allWell verdict = iota
	warning
	critical
	unknown
)

func (v verdict) String() string { return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[v] }

// checked ends the program as a monitoring plug-in does. All has been said.
type checked struct{ verdict }

func (c *checked) Error() string { return c.verdict.String() }

// check prints what status knows in the one line that monitors take.
func (a *app) check(ctx context.Context, warn string) error {
	before, err := parseDays(warn)
	if err != nil {
		return usagef("--warn %q: want a time such as 7d or 36h", warn)
	}
	all, err := a.statuses(ctx)
	if err != nil {
		return a.verdict(unknown, err.Error(), "")
	}
	worst := allWell
	var said, data []string
	for _, s := range all {
		v, text := s.verdict(time.Now(), before)
		// A login that is dead is worse than one of which nothing is known.
		if rank := [...]int{allWell: 0, warning: 1, unknown: 2, critical: 3}; rank[v] > rank[worst] {
			worst = v
		}
		said = append(said, s.Profile+": "+text)
		if s.RefreshExpiresAt != nil {
			// 'label'=value[unit];[warn];[crit];[min]: a range that ends below "10:"
			data = append(data, fmt.Sprintf("'%s login'=%ds;%d:;0:", s.Profile, max(0, int(time.Until(*s.RefreshExpiresAt).Seconds())), int(before.Seconds())))
		}
	}
	return a.verdict(worst, strings.Join(said, "; "), strings.Join(data, " "))
}

func (a *app) verdict(v verdict, text, data string) error {
	line := "EXACTAUTH " + v.String() + " - " + strings.ReplaceAll(text, "|", "/") // a bar begins the data
	if data != "" {
		line += " | " + data
	}
	if a.JSON {
		if err := a.PrintJSON(map[string]any{"schema_version": statusSchema, "state": v.String(), "text": text}); err != nil {
			return err
		}
	} else if err := a.Print(line + "\n"); err != nil {
		return err
	}
	if v == allWell {
		return nil
	}
	return &checked{v}
}

// verdict judges one profile.
func (s *profileStatus) verdict(now time.Time, warn time.Duration) (verdict, string) {
	switch {
	case errors.Is(s.err, fault.ErrTemporary):
		return warning, s.Problem
	case s.err != nil:
		return critical, s.Problem
	case s.RefreshExpiresAt == nil:
		return unknown, "nothing is known"
	}
	left := s.RefreshExpiresAt.Sub(now)
	text := "signed in, lapses in " + days(left) + " unless a token is fetched"
	if left < warn {
		return warning, text
	}
	return allWell, text
}

// days says a time of some length roughly, never too long.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Truncate(time.Minute).String()
}

// parseDays reads a duration that may count in days.
func parseDays(s string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 || n > 10_000 {
			return 0, errors.New("not a number of days")
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	return d, err
}
