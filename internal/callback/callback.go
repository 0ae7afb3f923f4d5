// Package callback takes one answer to a sign-in from a browser to this machine.
// [Open] listens where the browser will arrive, [Callback.Code] waits for the
// answer there or in a pasted line, and [Callback.Finish] shows the person how the
// sign-in ended.
//
// Any web page and any local program can send requests to the listener, so it
// judges them strictly: exact method, path and host, the state before everything
// else, and one answer. Everything else gets a 404 and the wait goes on.
package callback

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/url"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/trust"
)

// Options says where the answer arrives and who may bring it.
type Options struct {
	// Settings has the redirect URI, and Listen, Relay, TLSCert and TLSKey. The
	// settings have been checked.
	Settings config.Settings

	// Issuer is compared with the issuer that the answer names, if it names one.
	Issuer Issuer

	// Certificates stores the listener's own certificate and its key, which must not
	// leave this machine. It is used only for a listener with TLS. Optional: without it
	// each call makes a certificate.
	Certificates record.Store

	// Now is the time by which the certificate must be valid. Zero means the clock's.
	Now time.Time

	// Language is the language of the pages, "nl" or "en", for a browser that asks for
	// neither. Optional.
	Language string

	// Paste is read for lines that the person pastes. Nil means that pasting is not
	// possible. It is read until the context of Code ends, and at most one line longer.
	// Lines that come together are one paste, and are joined.
	Paste io.Reader

	// Notice is called with one line about a pasted line, for the person. Optional.
	Notice func(string)
}

// Arrival is what the person should know about the browser's way back.
type Arrival struct {
	RedirectURI string // where the browser ends
	Listening   bool   // whether a listener waits there
	SelfSigned  bool   // the browser will warn of the listener's certificate
	Loopback    bool   // the browser arrives without a hosts-file entry
	Port        string // the listener's, on 127.0.0.1
}

// Callback waits for one answer. Open makes one and its caller closes it.
type Callback struct {
	Arrival
	State string // which the answer must carry; more than 256 random bits

	attempt  attempt
	listener *listener // nil if nothing listens
	paste    io.Reader
	notice   func(string)
}

// Open listens for the answer and takes requests at once, so that the browser may be
// sent off as soon as Open returns. Errors wrap fault.ErrConfig (ErrPort if the port
// cannot be had), or are the certificate store's.
func Open(ctx context.Context, o Options) (*Callback, error) {
	at, listening := placeFor(o.Settings)
	c := &Callback{Arrival: Arrival{RedirectURI: o.Settings.RedirectURI, Listening: listening}, paste: o.Paste, notice: o.Notice}
	if c.notice == nil {
		c.notice = func(string) {}
	}
	relayPort := ""
	switch {
	case listening:
		cert, own, err := o.certificate(ctx, at)
		if err != nil {
			return nil, err
		}
		if c.listener, err = listen(ctx, at, cert); err != nil {
			return nil, err
		}
		c.Port, c.SelfSigned = c.listener.port, own
		redirect, _ := url.Parse(o.Settings.RedirectURI)
		c.Loopback = config.IsLoopback(redirect.Hostname()) || o.Settings.Relay || o.Settings.Listen != ""
		if o.Settings.Relay {
			relayPort = c.Port
		}
	case o.Paste == nil:
		return nil, fault.In(o.Settings.Name, fault.New(fault.ErrConfig, "nothing listens for the browser (listen is none), and the address cannot be pasted here"))
	}
	c.attempt = newAttempt(o.Settings, o.Issuer, relayPort)
	c.State = c.attempt.state
	if listening {
		c.listener.start(c.attempt, languageNamed(o.Language))
	}
	return c, nil
}

// certificate returns the listener's certificate, and whether it is self-signed by
// this program; nil if the listener speaks no TLS.
func (o Options) certificate(ctx context.Context, at place) (_ *tls.Certificate, own bool, err error) {
	if !at.tls {
		return nil, false, nil
	}
	if o.Settings.TLSCert != "" {
		var key []byte
		var cert tls.Certificate
		chain, _, err := trust.Read(ctx, o.Settings.TLSCert, trust.File)
		if err == nil {
			key, _, err = trust.Read(ctx, o.Settings.TLSKey, trust.Secret)
		}
		if err == nil {
			cert, err = tls.X509KeyPair(chain, key)
		}
		if err != nil {
			return nil, false, fault.Wrap(fault.ErrConfig, err, "the listener's certificate")
		}
		return &cert, false, nil
	}
	redirect, _ := url.Parse(o.Settings.RedirectURI)
	cert, err := selfSigned(ctx, o.Certificates, redirect.Hostname(), cmp.Or(o.Now, time.Now()))
	return &cert, true, err
}

// Try reports what is in the way of listening for these settings, or nil. It binds
// the port for a moment and serves nothing. Errors wrap ErrPort.
func Try(ctx context.Context, s config.Settings) error {
	at, listening := placeFor(s)
	if !listening {
		return nil
	}
	l, err := listen(ctx, at, nil)
	if err != nil {
		return err
	}
	l.close()
	return nil
}

// Code returns the code of the first valid answer, from the browser or from a pasted
// line. Errors wrap fault.ErrDenied: the server refused (with a *RefusedError), another
// server answered, the pasted input ended, or ctx's deadline passed. If ctx was cancelled, the error is its
// cause. The browser that brought the answer waits until Finish.
func (c *Callback) Code(ctx context.Context) (fault.Secret, error) {
	var came <-chan redirect
	if c.listener != nil {
		came = c.listener.came
	}
	var lines <-chan string
	if c.paste != nil {
		lines = readLines(ctx, c.paste)
	}
	pasted := paste{attempt: c.attempt}
	var settled <-chan time.Time // of the lines that have come
	for {
		var r *redirect
		var reason error // why what has come is not the answer
		select {
		case answer := <-came:
			r = &answer
		case line, open := <-lines:
			if open {
				r, reason = pasted.line(line)
				settled = time.After(pasteEnds)
			} else {
				r, reason = pasted.settle()
				lines = nil
			}
		case <-settled:
			r, reason = pasted.settle()
			settled = nil
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fault.Secret{}, fault.New(fault.ErrDenied, "timed out: no answer to the sign-in arrived")
			}
			return fault.Secret{}, context.Cause(ctx)
		}
		if reason != nil {
			c.notice(reason.Error() + "; still waiting")
		}
		if r != nil && r.bare {
			c.notice("a bare code does not show whose sign-in it comes from; check the account that is shown below")
		}
		if r != nil {
			return r.code, r.err
		}
		if lines == nil && c.listener == nil {
			return fault.Secret{}, fault.New(fault.ErrDenied, "the input ended before an address was pasted")
		}
	}
}

// pasteEnds is how long no line comes after the last one of a paste. An answer that
// more lines could belong to is judged then.
const pasteEnds = 500 * time.Millisecond

// readLines passes lines on until ctx ends. A read from a terminal cannot be
// cancelled, so the goroutine may outlive the sign-in by one line.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 64<<10)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// Finish shows the page to the browser that brought the answer, and closes the
// callback. If ctx was cancelled, the person has left and no page is shown.
func (c *Callback) Finish(ctx context.Context, p Page) {
	if c.listener != nil && !errors.Is(ctx.Err(), context.Canceled) {
		c.listener.finish(p)
	}
	c.Close()
}

// Close stops listening at once. It may be called more than once.
func (c *Callback) Close() {
	if c.listener != nil {
		c.listener.close()
	}
}
