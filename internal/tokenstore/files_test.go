package tokenstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
)

// writerEnv names the directory in which the test binary writes until it is killed.
const writerEnv = "TOKENSTORE_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		s := tokenstore.NewFiles(dir, nil)
		for i := byte(0); ; i++ {
			err := s.Update(context.Background(), "a", func(context.Context, []byte) ([]byte, error) {
				return bytes.Repeat([]byte{'a' + i%26}, 5000), nil
			})
			if err != nil {
				os.Stderr.WriteString(err.Error())
				os.Exit(1)
			}
			os.Stdout.Write([]byte{'.'})
		}
	}
	os.Exit(m.Run())
}

func TestFiles(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() record.Store {
		dir := filepath.Join(t.TempDir(), "made", "on", "demand")
		return func() record.Store { return tokenstore.NewFiles(dir, nil) }
	})
}

// A writer that is killed with SIGKILL at any moment leaves a whole record and
// no lock.
func TestFilesKilledWriter(t *testing.T) {
	dir := t.TempDir()
	for round := range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// After a number of records, not a time, so that a slow machine tests the same.
		if _, err := io.CopyN(io.Discard, out, int64(1+round%7)); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		cmd.Wait()

		s := tokenstore.NewFiles(dir, nil)
		b, err := s.Read(t.Context(), "a")
		if err != nil || len(b) != 5000 || len(bytes.Trim(b, string(b[:1]))) != 0 {
			t.Fatalf("round %d: %d bytes, %v", round, len(b), err)
		}
		if err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { return []byte("after"), nil }); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
			t.Fatalf("round %d: left behind: %v", round, left)
		}
	}
}

func put(t *testing.T, s *tokenstore.Files, name, text string) {
	t.Helper()
	err := s.Update(t.Context(), name, func(context.Context, []byte) ([]byte, error) { return []byte(text), nil })
	if err != nil {
		t.Fatal(err)
	}
}

func needUnix(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
}

func TestFilesCorrectsModes(t *testing.T) {
	needUnix(t)
	dir := filepath.Join(t.TempDir(), "state")
	var warnings []string
	s := tokenstore.NewFiles(dir, func(w string) { warnings = append(warnings, w) })
	put(t, s, "a", "1")
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if d, f, l := mode(dir), mode(filepath.Join(dir, "a")), mode(filepath.Join(dir, "a.lock")); d != 0o700 || f != 0o600 || l != 0o600 {
		t.Errorf("made with %o, %o, %o; want 700, 600, 600", d, f, l)
	}
	if len(warnings) != 0 {
		t.Errorf("a warning without a cause: %q", warnings)
	}
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Join(dir, "a"), 0o644)
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "1" {
		t.Errorf("Read = %q, %v", b, err)
	}
	if d, f := mode(dir), mode(filepath.Join(dir, "a")); d != 0o700 || f != 0o600 {
		t.Errorf("left at %o, %o; want 700, 600", d, f)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "state directory") || !strings.Contains(warnings[1], "record") {
		t.Errorf("warnings %q; want one about the directory and one about the record", warnings)
	}
}

func TestFilesUmask(t *testing.T) {
	needUnix(t)
	old := umask(0o477)
	defer umask(old)
	dir := filepath.Join(t.TempDir(), "two", "levels")
	s := tokenstore.NewFiles(dir, nil)
	put(t, s, "a", "1")
	for path, want := range map[string]fs.FileMode{filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, "a"): 0o600, filepath.Join(dir, "a.lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %o", path, info.Mode(), err, want)
		}
	}
}

func TestFilesRefuses(t *testing.T) {
	needUnix(t)
	for _, tc := range []struct {
		name string
		make func(t *testing.T, dir string)
		want string
	}{
		{"symbolic link", func(t *testing.T, dir string) {
			os.WriteFile(filepath.Join(dir, "else"), []byte("x"), 0o600)
			os.Symlink("else", filepath.Join(dir, "a"))
		}, "symbolic link"},
		{"directory", func(t *testing.T, dir string) { os.Mkdir(filepath.Join(dir, "a"), 0o700) }, "directory"},
		{"huge", func(t *testing.T, dir string) {
			os.WriteFile(filepath.Join(dir, "a"), nil, 0o600)
			os.Truncate(filepath.Join(dir, "a"), 1<<30)
		}, "a record has 4194304 at most"},
		{"another user's record", func(t *testing.T, dir string) {
			needRoot(t)
			os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600)
			os.Chown(filepath.Join(dir, "a"), 4711, 4711)
		}, "belongs to user 4711"},
		{"another user's directory", func(t *testing.T, dir string) {
			needRoot(t)
			os.Chown(dir, 4711, 4711)
		}, "belongs to user 4711"},
		{"shared directory", func(t *testing.T, dir string) { os.Chmod(dir, 0o777|fs.ModeSticky) }, "shared with other users"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			os.Mkdir(dir, 0o700)
			tc.make(t, dir)
			s := tokenstore.NewFiles(dir, nil)
			var bad *tokenstore.Error
			if _, err := s.Read(t.Context(), "a"); !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Read: %v; want a tokenstore.Error with %q", err, tc.want)
			}
			err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
				t.Error("change was called")
				return nil, nil
			})
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Update: %v; want a tokenstore.Error with %q", err, tc.want)
			}
		})
	}
}

// A directory that is a link to nothing, for example to a disk that is not mounted, has
// no record, and a record cannot be made there: an error of the store.
func TestFilesLinkToNowhere(t *testing.T) {
	needUnix(t)
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Symlink("nowhere", dir); err != nil {
		t.Fatal(err)
	}
	s := tokenstore.NewFiles(dir, nil)
	var fault *tokenstore.Error
	if _, err := s.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &fault) {
		t.Errorf("Read: %v; want fs.ErrNotExist alone", err)
	}
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		t.Error("change was called")
		return nil, nil
	})
	for what, err := range map[string]error{"Update": err, "Delete": s.Delete(t.Context(), "a")} {
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "state directory "+dir) {
			t.Errorf("%s: %v; want a tokenstore.Error about the directory", what, err)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of a file")
	}
}

// A record that cannot be written is found out before change is called.
func TestFilesNoRoom(t *testing.T) {
	needUnix(t)
	dir := t.TempDir()
	s := tokenstore.NewFiles(dir, nil)
	put(t, s, "a", "old")
	// A directory in the place of the temporary file stops root, too.
	os.MkdirAll(filepath.Join(dir, "a.tmp", "x"), 0o700)
	var bad *tokenstore.Error
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		t.Error("change was called")
		return nil, nil
	})
	if !errors.As(err, &bad) {
		t.Errorf("Update: %v; want a tokenstore.Error", err)
	}
	if b, err := s.Read(t.Context(), "a"); string(b) != "old" {
		t.Errorf("Read = %q, %v; want the record untouched", b, err)
	}
}

func BenchmarkFilesRead(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if _, err := s.Read(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilesUpdate(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		err := s.Update(b.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
			next := bytes.Clone(old)
			next[0] ^= 1
			return next, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchStore(b *testing.B) *tokenstore.Files {
	s := tokenstore.NewFiles(b.TempDir(), nil)
	err := s.Update(b.Context(), "a", func(context.Context, []byte) ([]byte, error) { return bytes.Repeat([]byte("x"), 3000), nil })
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// What a killed process left is removed before the record, or it would become the record
// if this process were killed too. An error says that a part is gone.
func TestFilesDeleteInPart(t *testing.T) {
	dir := t.TempDir()
	s := tokenstore.NewFiles(dir, nil)
	left := filepath.Join(dir, "a.tmp")
	err := errors.Join(os.WriteFile(left, []byte("left"), 0o600), os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700)) // cannot be removed
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []tokenstore.Kind{tokenstore.Late, tokenstore.Directory} { // the second call removes nothing
		var failed *tokenstore.Error
		if err := s.Delete(t.Context(), "a"); !errors.As(err, &failed) || failed.Kind != want {
			t.Errorf("%v; want an error of kind %d", err, want)
		}
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what was left is still there: %v", err)
		}
	}
}
