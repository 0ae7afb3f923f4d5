// Command plain does with net/http alone what exactauth does for requests to Exact's API.
//
//	plain get TOKEN ADDRESS...   prints the records of lists, to the last page of each
//	plain proxy ADDRESS          passes requests on, until the end of its input
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	work := get
	if os.Args[1] == "proxy" {
		work = proxy
	}
	if err := work(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func get(args []string) error {
	out := bufio.NewWriter(os.Stdout)
	for _, address := range args[1:] {
		for address != "" {
			var page struct {
				D struct {
					Results []json.RawMessage `json:"results"`
					Next    string            `json:"__next"`
				} `json:"d"`
			}
			req, err := http.NewRequest(http.MethodGet, address, nil)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+args[0])
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			err = json.NewDecoder(resp.Body).Decode(&page)
			_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
			resp.Body.Close()
			if err != nil {
				return err
			}
			for _, record := range page.D.Results {
				out.Write(append(record, '\n'))
			}
			address = page.D.Next
		}
	}
	return out.Flush()
}

func proxy(args []string) error {
	to, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as exactauth's
	go http.Serve(listener, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport})
	fmt.Printf("http://%s\n", listener.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
