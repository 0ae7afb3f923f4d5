package pgstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/jackc/pgservicefile"

	"github.com/exactauth/exactauth/internal/trust"
)

// Trusted returns an error with a *trust.Error if another user than root can change a
// file that the driver reads for this address, or can read one with a password or a key.
// The driver opens the files that the address, its service or the environment names, or
// otherwise those in the home directory, and judges none of them. A file that the
// connection would not need after all is judged too.
func Trusted(address string, env func(string) string) error {
	u, err := url.Parse(address)
	if err != nil {
		return nil // New reports it
	}
	given := map[string]string{}
	given["password"], _ = u.User.Password()
	for pair := range strings.SplitSeq(u.RawQuery, "&") { // as the driver reads it: "+" is no space, and the last one counts
		key, value, _ := strings.Cut(pair, "=")
		key, _ = url.PathUnescape(strings.Trim(key, " "))
		given[key], _ = url.PathUnescape(strings.Trim(value, " "))
	}
	var service map[string]string
	setting := func(key string) string {
		return cmp.Or(given[key], service[key], env("PG"+strings.ToUpper(key)))
	}
	judge := func(by func(string) (fs.FileInfo, error), key, atHome string) (string, error) {
		file := setting(key)
		if home := env("HOME"); file == "" && home != "" {
			file = filepath.Join(home, atHome)
		}
		if file == "" {
			return "", nil
		}
		_, err := by(file)
		if errors.As(err, new(*trust.Error)) {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		return file, nil // what cannot be read is the driver's to report
	}

	if name := setting("service"); name != "" {
		path, err := judge(trust.File, "servicefile", ".pg_service.conf")
		if err != nil {
			return err
		}
		if file, err := pgservicefile.ReadServicefile(path); err == nil {
			if found, err := file.GetService(name); err == nil {
				service = found.Settings
			}
		}
		if service["password"] != "" || service["sslpassword"] != "" {
			if _, err := trust.Secret(path); errors.As(err, new(*trust.Error)) {
				return fmt.Errorf("servicefile: %w", err)
			}
		}
	}
	for _, c := range []struct {
		by          func(string) (fs.FileInfo, error)
		key, atHome string
	}{
		{trust.Secret, "passfile", ".pgpass"},
		{trust.Secret, "sslkey", ".postgresql/postgresql.key"},
		{trust.File, "sslcert", ".postgresql/postgresql.crt"},
		{trust.File, "sslrootcert", ".postgresql/root.crt"},
	} {
		if c.key == "passfile" && setting("password") != "" {
			continue // the driver does not read it
		}
		if _, err := judge(c.by, c.key, c.atHome); err != nil {
			return err
		}
	}
	return nil
}
