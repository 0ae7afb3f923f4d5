//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// library is something that a program may link, and how that is used: imports, and
// statements that the linker cannot know never to run.
type library struct {
	name    string
	imports []string
	use     string
}

// base is what every program that refreshes tokens has.
var base = library{
	name:    "cobra and x/oauth2",
	imports: []string{"context", "fmt", "os", "github.com/spf13/cobra", "golang.org/x/oauth2"},
	use: `c := oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: os.Args[1]}}
	fmt.Println(c.TokenSource(ctx, &oauth2.Token{RefreshToken: os.Args[2]}).Token())`,
}

var candidates = []library{
	{"pgx's pgconn", []string{"github.com/jackc/pgx/v5/pgconn"}, `p, err := pgconn.Connect(ctx, os.Args[1])
	fmt.Println(p.ExecParams(ctx, os.Args[2], nil, nil, nil, nil).Read(), err)`},
	{"all of pgx", []string{"github.com/jackc/pgx/v5"}, `x, err := pgx.Connect(ctx, os.Args[1])
	var b []byte
	fmt.Println(x.QueryRow(ctx, os.Args[2], os.Args[3]).Scan(&b), err)`},
	{"lib/pq", []string{"database/sql", "github.com/lib/pq"}, `q, err := pq.NewConnector(os.Args[1])
	var r []byte
	fmt.Println(sql.OpenDB(q).QueryRowContext(ctx, os.Args[2], os.Args[3]).Scan(&r), err)`},
	{"age", []string{"filippo.io/age"}, `i, err := age.ParseX25519Identity(os.Args[1])
	w, err2 := age.Encrypt(os.Stdout, i.Recipient())
	r, err3 := age.Decrypt(os.Stdin, i)
	fmt.Println(w, r, err, err2, err3)`},
	{"go-keyring", []string{"github.com/zalando/go-keyring"}, `fmt.Println(keyring.Get(os.Args[1], os.Args[2]))
	fmt.Println(keyring.Set(os.Args[1], os.Args[2], os.Args[3]))`},
	{"go-oidc", []string{"github.com/coreos/go-oidc/v3/oidc"}, `o, err := oidc.NewProvider(ctx, os.Args[1])
	fmt.Println(o.Verifier(&oidc.Config{ClientID: os.Args[2]}).Verify(ctx, os.Args[3]))
	fmt.Println(err)`},
	{"httputil.ReverseProxy", []string{"net/http", "net/http/httputil"}, `fmt.Println(http.ListenAndServe(os.Args[1], &httputil.ReverseProxy{}))`},
	{"html/template", []string{"html/template"}, `fmt.Println(template.Must(template.New("t").Parse(os.Args[1])).Execute(os.Stdout, os.Args))`},
}

// libPQ is the only one of them that the project does not have in go.mod.
const libPQ = "github.com/lib/pq@v1.12.3"

// libraries measures what each library adds to a small program, in a module of its
// own with the project's versions.
func (b *bench) libraries() error {
	say("libraries")
	dir := filepath.Join(b.dir, "imports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(b.root, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	mod := []string{"GOFLAGS=-mod=mod"}
	if err := b.tool(dir, mod, "go", "mod", "edit", "-module", "bench.invalid/imports"); err != nil {
		return err
	}
	if err := b.tool(dir, mod, "go", "get", libPQ); err != nil {
		return err
	}

	all := append([]library{{}}, candidates...)
	var commands []command
	for i, l := range all {
		pkg := filepath.Join(dir, fmt.Sprint("p", i))
		if err := os.MkdirAll(pkg, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(pkg, "main.go"), []byte(l.program()), 0o644); err != nil {
			return err
		}
		path := filepath.Join(dir, fmt.Sprint("program", i))
		if err := b.goBuild(dir, path, "./"+filepath.Base(pkg), "-mod=mod"); err != nil {
			return err
		}
		commands = append(commands, command{args: []string{path, "hello"}})
	}
	commands = append(commands, command{args: []string{b.programs.hello}})
	measured, err := b.inTurns(b.world.env(), b.rounds, commands)
	if err != nil {
		return err
	}
	unit := measured[len(measured)-1].wall()
	t := &table{head: []string{base.name + ", and", "× Go hello", "more by", "instructions, million", "init ms", "binary MB", "more by"}}
	for i, l := range all {
		c := commands[i]
		instructions, sum, err := b.counted(c.args)
		if err != nil {
			return err
		}
		if i == 0 {
			l.name = "nothing else"
		}
		x := measured[i].wall() / unit
		t.add(l.name, ratio(x), fmt.Sprintf("%+.2f", x-measured[0].wall()/unit), instructions, fmt.Sprintf("%.2f", sum),
			mb2(size(c.args[0])), fmt.Sprintf("%+.2f", float64(size(c.args[0])-size(commands[0].args[0]))/1e6))
	}
	return b.show("imports", fmt.Sprintf("Small programs with the project's versions, and %s; medians of %d rounds in turns, of 21 calls for init, of 3 for instructions", libPQ, b.rounds), t)
}

// program is a cobra program that says hello and could do more.
func (l library) program() string {
	var s strings.Builder
	s.WriteString("package main\n\nimport (\n")
	for _, path := range append(base.imports, l.imports...) {
		fmt.Fprintf(&s, "\t%q\n", path)
	}
	fmt.Fprintf(&s, `)

func main() {
	root := &cobra.Command{Use: "p"}
	root.AddCommand(&cobra.Command{Use: "hello", RunE: func(cmd *cobra.Command, _ []string) error {
		if len(os.Args) > 9 {
			more(cmd.Context())
		}
		_, err := os.Stdout.WriteString("hello, world\n")
		return err
	}})
	if root.ExecuteContext(context.Background()) != nil {
		os.Exit(2)
	}
}

func more(ctx context.Context) {
	%s
	%s
}
`, base.use, l.use)
	return s.String()
}
