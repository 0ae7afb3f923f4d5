package main

import (
	"context"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
)

// api returns a client of Exact's API that adds a live token to each request, keeps
// Exact's limits and repeats a GET. end waits for a refresh that is under way.
func (a *app) api(p config.Settings, c *exactauth.Client) (api *exactapi.Client, end func(), err error) {
	source := &tokenSource{app: a, client: c}
	t, err := exactapi.NewTransport(exactapi.TransportConfig{BaseURL: p.BaseURL, Token: source.token, Repeat: true, Waiting: a.waitingForExact()})
	if err != nil {
		return nil, nil, err
	}
	api = t.Client()
	api.Log = a.logger()
	return api, t.Close, nil
}

// waitingForExact shows, on a terminal, that the program waits for an answer or a limit.
// Elsewhere it says once that it waits for a limit: a job can wait in every minute.
func (a *app) waitingForExact() func(ctx context.Context, until time.Time) (over func()) {
	var said sync.Once
	return func(ctx context.Context, until time.Time) (over func()) {
		if until.IsZero() {
			return a.spinLater(ctx, "asking Exact")
		}
		what := "waiting for the limit until " + until.Local().Format("15:04:05")
		if !a.Spins() {
			said.Do(func() { a.Say("exactauth: %s", what) })
		}
		return a.Spin(ctx, what, until)
	}
}

// spinLater is Spin once a wait has lasted so long that a person notices.
func (a *app) spinLater(ctx context.Context, what string) (over func()) {
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if fault.Pause(ctx, 400*time.Millisecond) == nil {
			over := a.Spin(ctx, what, end)
			<-ctx.Done()
			over()
		}
	}()
	return func() {
		cancel()
		<-gone
	}
}
