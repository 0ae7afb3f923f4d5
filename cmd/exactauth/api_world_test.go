package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// withLists serves lists that the simulator does not have, at /api/v1/1/test/List, and
// passes other requests on. Query parameters say what a list is like:
//
//	n      how many records there are, 60 on a page
//	size   how long the text in each is
//	hold   a file that must exist before the second page is sent
//	again  the page to which the last one links
//	to     the server to which the first page links
//
// A text that ends in ".json" in place of List is answered with the JSON in "body".
func withLists(sim http.Handler) http.Handler {
	const perPage = 60
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/v1/1/test/") {
			sim.ServeHTTP(w, r)
			return
		}
		q := r.URL.Query()
		number := func(name string) int {
			n, _ := strconv.Atoi(q.Get(name)) // absent is 0
			return n
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".json") {
			fmt.Fprint(w, q.Get("body"))
			return
		}
		page, text := number("page"), strings.Repeat("x", number("size"))
		for page == 1 && q.Get("hold") != "" && r.Context().Err() == nil {
			if _, err := os.Stat(q.Get("hold")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		separator := `{"d":{"results":[`
		for i := page * perPage; i < min((page+1)*perPage, number("n")); i++ {
			fmt.Fprintf(w, `%s{"n":%d,"text":"%s"}`, separator, i, text)
			separator = ","
		}
		fmt.Fprint(w, "]")
		next := page + 1
		if next*perPage >= number("n") {
			next = number("again")
		}
		if next > 0 {
			host := r.Host
			if q.Has("to") {
				host = q.Get("to")
			}
			q.Set("page", strconv.Itoa(next))
			fmt.Fprintf(w, `,"__next":"http://%s%s?%s"`, host, r.URL.Path, q.Encode())
		}
		fmt.Fprint(w, "}}")
	})
}
