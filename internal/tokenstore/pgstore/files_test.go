package pgstore_test

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/trust"
)

// The files that are judged are those that the driver opens, also where the address
// writes their names in a way of its own.
func TestFilesOfTheAddress(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "a b+c%.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"sslrootcert=" + url.PathEscape(file),
		"sslrootcert=/none&sslrootcert=" + url.PathEscape(file),
		"application_name=a%20b&%73slrootcert=" + url.PathEscape(file),
	} {
		address := "postgres://ann@db.test/exact?" + query // over a network, where New adds sslmode
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pgstore.New(address); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		nothing := func(string) string { return "" }
		if err := pgstore.Trusted(address, nothing); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if runtime.GOOS == "windows" {
			continue // without modes
		}
		if err := os.Chmod(file, 0o602); err != nil {
			t.Fatal(err)
		}
		err := pgstore.Trusted(address, nothing)
		if !errors.As(err, new(*trust.Error)) || !strings.HasPrefix(err.Error(), "sslrootcert: "+file+": ") {
			t.Errorf("%s: %v", query, err)
		}
	}
}
