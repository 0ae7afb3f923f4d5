package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/exactauth/exactauth/"

// needGo skips a test of the sources where there is no Go to read them with, as on a Windows that only runs the tests.
func needGo(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here")
	}
}

// imports returns the imports of each package of the module, without those of tests.
// Programs other than exactauth have "tool/" before their names.
func imports(t *testing.T, flags ...string) map[string][]string {
	needGo(t)
	args := append(append([]string{"list"}, flags...), "-f", `{{if and (eq .Name "main") (ne .ImportPath "`+module+`cmd/exactauth")}}tool/{{end}}{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...")
	cmd := exec.Command("go", args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		all[strings.TrimPrefix(f[0], module)] = f[1:]
	}
	return all
}

// Which package may import which: cmd all of them, the others almost none.
func TestArrows(t *testing.T) {
	allowed := map[string][]string{ // our own packages; for a new one decide what it may import
		"internal/fault":                {},
		"internal/record":               {"internal/fault"},
		"internal/network":              {"internal/fault"},
		"internal/exactauth":            {"internal/callback", "internal/config", "internal/exactapi", "internal/fault", "internal/network", "internal/record"},
		"internal/callback":             {"internal/config", "internal/fault", "internal/record", "internal/trust"},
		"internal/config":               {"internal/durable", "internal/fault", "internal/trust"},
		"internal/term":                 {"internal/fault", "internal/handover"},
		"internal/durable":              {},
		"internal/trust":                {"internal/fault"},
		"internal/handover":             {},
		"internal/tokenstore":           {"internal/durable", "internal/record"},
		"internal/exactsim":             {},
		"internal/tokenstore/pgstore":   {"internal/fault", "internal/record", "internal/tokenstore", "internal/trust"},
		"internal/tokenstore/seal":      {"internal/durable", "internal/fault", "internal/record", "internal/tokenstore", "internal/trust"},
		"internal/tokenstore/spool":     {"internal/fault", "internal/record", "internal/tokenstore"},
		"internal/tokenstore/storetest": {"internal/record", "internal/tokenstore"},
		"internal/auth0":                {"internal/callback", "internal/config", "internal/fault", "internal/network"},
		"internal/auth0/auth0sim":       {"internal/exactsim"},
		"internal/exactapi":             {"internal/fault", "internal/network", "internal/record"},
		"tools/vt":                      {},
		"tools/chromiumtest":            {},
	}
	all := imports(t)
	if len(all) == 0 {
		t.Fatal("go list names no package")
	}
	for pkg, imported := range all {
		for _, path := range imported {
			own, isOwn := strings.CutPrefix(path, module)
			domain, _, _ := strings.Cut(path, "/")
			switch {
			case strings.HasPrefix(own, "cmd/") && isOwn:
				t.Errorf("%s imports %s", pkg, own)
			case strings.HasPrefix(pkg, "cmd/"), strings.HasPrefix(pkg, "tool/"), strings.HasPrefix(pkg, "tools/"):
			case isOwn && !slices.Contains(allowed[pkg], own):
				t.Errorf("%s imports %s", pkg, own)
			case (pkg == "internal/exactsim" || pkg == "internal/auth0/auth0sim" && !isOwn) && strings.Contains(domain, "."):
				t.Errorf("%s imports %s; it is to need the standard library only", pkg, path)
			case path == "github.com/spf13/cobra", path == "flag", path == "testing" && !strings.HasSuffix(pkg, "test"):
				t.Errorf("%s imports %s", pkg, path)
			}
		}
	}
}

// Only cmd uses the environment and the standard streams, and passes them to what is below.
func TestNothingBelowTouchesTheWorld(t *testing.T) {
	forbidden := map[string]bool{"Getenv": true, "LookupEnv": true, "Environ": true, "Args": true,
		"Stdin": true, "Stdout": true, "Stderr": true, "Exit": true}
	set := token.NewFileSet()
	packages := map[string]bool{} // those that the test has seen
	internal := filepath.Join("..", "..", "internal")
	err := filepath.WalkDir(internal, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(internal, filepath.Dir(file))
		if err != nil {
			return err
		}
		packages[filepath.ToSlash(dir)] = true
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && (x.Name == "os" && forbidden[s.Sel.Name] || x.Name == "fmt" && strings.HasPrefix(s.Sel.Name, "Print") || x.Name == "log" && strings.HasPrefix(s.Sel.Name, "Fatal")) {
					t.Errorf("%s: %s.%s", set.Position(s.Pos()), x.Name, s.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"exactauth", "tokenstore", "tokenstore/pgstore", "auth0/auth0sim"} {
		if !packages[pkg] {
			t.Errorf("%s was not seen", pkg)
		}
	}
}

// The program stays small: it links no large library. Whatever is linked slows the
// start down, whether it is used or not.
func TestDependencies(t *testing.T) {
	for _, dep := range dependencies(t, "cmd/exactauth") {
		for _, heavy := range []string{"viper", "grpc", "protobuf", "opentelemetry", "appengine", "cloud.google.com", "k8s.io",
			"etcd.io", "hashicorp", "go-redis", "aws-sdk", "chromedp", "go-internal", "charm", "tcell", "tview", "survey", "promptui",
			"net/http/pprof", "html/template", "testify", "logrus", "zap"} {
			if strings.Contains(dep, heavy) {
				t.Errorf("the program links %s", dep)
			}
		}
	}
	// The front exists for its fast start.
	for _, dep := range dependencies(t, "cmd/exactauth-front") {
		first, _, _ := strings.Cut(dep, "/")
		switch {
		case strings.HasPrefix(dep, module), dep == "net/url", dep == "net/netip", // they open no socket
			dep == "log", dep == "log/internal", strings.HasPrefix(dep, "log/slog"): // a secret says how it is logged
		case slices.Contains([]string{"net", "crypto", "html", "text", "regexp", "log", "database", "compress"}, first), dep == "os/exec", dep == "os/signal":
			t.Errorf("the front links %s", dep)
		case strings.Contains(first, ".") && !slices.ContainsFunc([]string{"github.com/pelletier/go-toml/v2", "golang.org/x/sys/"},
			func(allowed string) bool { return strings.HasPrefix(dep, allowed) }):
			t.Errorf("the front links %s", dep)
		}
	}
}

// No package of ours makes anything at the start that only some commands need: each call of
// each command would pay for it.
func TestInit(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) { // init PATH @0.5 ms, 0.01 ms clock, 72 bytes, 2 allocs
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "init" || !strings.HasPrefix(words[1], module+"internal/") || strings.HasSuffix(words[1], "_test") {
			continue
		}
		seen++
		if n, err := strconv.Atoi(words[len(words)-2]); err != nil || n > 10 {
			t.Errorf("%s", line)
		}
	}
	if seen == 0 {
		t.Errorf("no package of ours in\n%s", out)
	}
}

// dependencies returns all packages that a program of the module links.
func dependencies(t *testing.T, program string) []string {
	needGo(t)
	out, err := exec.Command("go", "list", "-deps", module+program).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if len(deps) == 0 {
		t.Fatal("go list names no dependency")
	}
	return deps
}
