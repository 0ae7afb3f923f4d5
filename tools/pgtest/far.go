package pgtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// ServerVariable names the address of a [Server], for a test that cannot run PostgreSQL itself: one of Windows, under
// Wine. Such a test reads the server's files, too.
const ServerVariable = "EXACTAUTH_TEST_POSTGRES"

// Server runs clusters for tests in other processes.
type Server struct {
	mu       sync.Mutex
	clusters map[string]*Cluster // by their directory
}

type order struct {
	Verb     string
	Dir      string // of the cluster
	Mode     Mode
	Settings []string
}

type answer struct {
	Dir, Password, Port, Host, Error string
	Certificate                      []byte
}

// ServeHTTP carries out one order.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var o order
	var a answer
	err := json.NewDecoder(r.Body).Decode(&o)
	if err == nil {
		a, err = s.obey(o)
	}
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(w).Encode(a)
}

func (s *Server) obey(o order) (a answer, err error) {
	s.mu.Lock()
	c := s.clusters[o.Dir]
	s.mu.Unlock()
	if c == nil && o.Verb != "new" {
		return a, fmt.Errorf("there is no cluster in %q", o.Dir)
	}
	switch o.Verb {
	case "new":
		c, err = New("")
	case "standby":
		c, err = c.standby()
	case "start":
		err = c.Start()
	case "stop":
		err = c.Stop(o.Mode)
	case "promote":
		err = c.Promote()
	case "bouncer":
		a.Host, err = c.bouncer(o.Settings)
	case "close":
		s.mu.Lock()
		delete(s.clusters, o.Dir)
		s.mu.Unlock()
		err = c.Close()
	default:
		err = fmt.Errorf("unknown: %q", o.Verb)
	}
	if err != nil || o.Verb == "close" {
		return a, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clusters == nil {
		s.clusters = map[string]*Cluster{}
	}
	s.clusters[c.Dir] = c
	a.Dir, a.Password, a.Port = c.Dir, c.Password, c.port
	a.Certificate, err = os.ReadFile(c.CAFile())
	return a, err
}

// Close ends the clusters that tests have left.
func (s *Server) Close() (err error) {
	s.mu.Lock()
	left := slices.Collect(maps.Values(s.clusters))
	s.clusters = nil
	s.mu.Unlock()
	for _, c := range left {
		err = errors.Join(err, c.Close())
	}
	return err
}

// far is a cluster that a Server runs: its address, the directory by its name there, and a copy of its certificate
// that no other user can write.
type far struct{ server, dir, ca string }

func newFar(server string) (*Cluster, error) { return (&far{server: server}).cluster("new") }

// cluster returns an order that makes a cluster.
func (f *far) cluster(verb string) (*Cluster, error) {
	a, err := f.ask(order{Verb: verb})
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.FromSlash(a.Dir)) // Wine has this directory on a drive
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, Password: a.Password, port: a.Port, far: &far{server: f.server, dir: a.Dir}}
	ca, err := os.MkdirTemp("", "exactauth-postgres-")
	if err == nil {
		c.far.ca = filepath.Join(ca, "ca.crt")
		err = os.WriteFile(c.far.ca, a.Certificate, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (f *far) ask(o order) (a answer, err error) {
	o.Dir = f.dir
	b, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	resp, err := http.Post(f.server, "application/json", bytes.NewReader(b))
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, fmt.Errorf("%s: %s: %w", o.Verb, resp.Status, err)
	}
	if strings.HasPrefix(a.Error, errNoBouncer.Error()) {
		return a, fmt.Errorf("%w%s", errNoBouncer, strings.TrimPrefix(a.Error, errNoBouncer.Error()))
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (f *far) do(o order) error {
	_, err := f.ask(o)
	return err
}

func server() string { return os.Getenv(ServerVariable) }

// remove removes what newFar has made here.
func (f *far) remove() error {
	if f.ca == "" {
		return nil
	}
	return os.RemoveAll(filepath.Dir(f.ca))
}
