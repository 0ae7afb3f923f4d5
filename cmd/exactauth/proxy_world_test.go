package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
)

// fetchMain is a client of the proxy: fetch [FLAG...] PATH sends a request to the proxy
// that $EXACT_BASE_URL names, or the ready line in a file, and prints status and body.
// For several requests at once it prints how often each status came. Without an address PATH is a whole one, of whatever
// server.
func fetchMain() {
	if err := fetch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func fetch(args []string) error {
	f := flag.NewFlagSet("fetch", flag.ExitOnError)
	ready := f.String("ready", "", "file with the ready line")
	method := f.String("method", http.MethodGet, "")
	header := f.String("header", "", "one more header")
	host := f.String("host", "", "the Host header")
	bare := f.Bool("bare", false, "no secret in the path")
	bearer := f.Bool("bearer", false, "the secret as Authorization")
	n := f.Int("n", 1, "requests at once")
	out := f.String("o", "", "write the body to this file")
	headers := f.String("headers", "", "write the answer's header fields to this file")
	here := f.String("here", "", "a name that leads to this machine, as by a hosts file; any certificate will do")
	if err := f.Parse(args); err != nil {
		return err
	}
	line := struct{ URL, Secret, Socket string }{URL: os.Getenv("EXACT_BASE_URL")}
	if *ready != "" {
		b, err := os.ReadFile(*ready)
		if err == nil {
			err = json.Unmarshal(b, &line)
		}
		if err != nil {
			return err
		}
	}
	if *bare || *bearer {
		line.URL = strings.TrimSuffix(line.URL, "/"+line.Secret)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: *n}
	if line.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", line.Socket)
		}
	}
	if *here != "" {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, strings.Replace(address, *here+":", "127.0.0.1:", 1))
		}
	}
	client := &http.Client{Transport: transport}
	one := func() (string, string, error) {
		req, err := http.NewRequest(*method, line.URL+f.Arg(0), nil)
		if err != nil {
			return "", "", err
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("User-Agent", "fetch")
		if *bearer {
			req.Header.Set("Authorization", "Bearer "+line.Secret)
		}
		if name, value, ok := strings.Cut(*header, ": "); ok {
			req.Header.Set(name, value)
		}
		req.Host = *host
		resp, err := client.Do(req)
		if err != nil {
			return "", "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if *headers != "" && err == nil {
			var fields bytes.Buffer
			_ = resp.Header.Write(&fields)
			err = os.WriteFile(*headers, fields.Bytes(), 0o600)
		}
		return resp.Status, string(body), err
	}
	if *n == 1 {
		status, body, err := one()
		fmt.Println(status)
		if *out != "" && err == nil {
			return os.WriteFile(*out, []byte(body), 0o600)
		}
		fmt.Print(body)
		return err
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for range *n {
		all.Go(func() {
			status, _, err := one()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				status = "no answer"
			}
			seen[status]++
		})
	}
	all.Wait()
	var lines []string
	for status, times := range seen {
		lines = append(lines, fmt.Sprintf("%d times %s", times, status))
	}
	slices.Sort(lines)
	fmt.Println(strings.Join(lines, "\n"))
	return nil
}
