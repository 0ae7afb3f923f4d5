package callback

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/record"
)

const (
	certificateLife  = 365 * 24 * time.Hour
	certificateRenew = 30 * 24 * time.Hour // before its end
)

// selfSigned returns a self-signed certificate for host and the loopback addresses.
// In a store, the certificate is kept until a month before its year ends, so that a
// browser's exception for it holds.
func selfSigned(ctx context.Context, store record.Store, host string, now time.Time) (tls.Certificate, error) {
	if store == nil {
		_, cert, err := NewCertificate(host, now)
		return cert, err
	}
	// Names of profiles have no dot. Names of records have no colon, as an IPv6 address
	// has, and a maximum length.
	name := "tls." + strings.ReplaceAll(strings.ToLower(host), ":", "_")
	if len(name) > 100 {
		name = fmt.Sprintf("tls.%x", sha256.Sum256([]byte(host)))
	}
	if b, err := store.Read(ctx, name); err == nil {
		if cert, ok := usable(b, host, now); ok {
			return cert, nil
		}
	}
	var cert tls.Certificate
	err := store.Update(ctx, name, func(_ context.Context, old []byte) (fresh []byte, err error) {
		var ok bool
		if cert, ok = usable(old, host, now); ok {
			return nil, record.ErrUnchanged
		}
		fresh, cert, err = NewCertificate(host, now)
		return fresh, err
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %s: %w", host, err)
	}
	return cert, nil
}

func usable(b []byte, host string, now time.Time) (tls.Certificate, bool) {
	cert, err := tls.X509KeyPair(b, b)
	if err != nil {
		return tls.Certificate{}, false
	}
	ok := cert.Leaf.VerifyHostname(host) == nil && now.After(cert.Leaf.NotBefore) && now.Before(cert.Leaf.NotAfter.Add(-certificateRenew))
	return cert, ok
}

// NewCertificate returns a self-signed certificate for host, and its text in PEM, with its key.
func NewCertificate(host string, now time.Time) (text []byte, cert tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, cert, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: host, Organization: []string{"exactauth on this computer"}},
		NotBefore:             now.Add(-time.Hour), // for a browser whose clock is behind, as in a virtual machine
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, // and no CA: it cannot sign for other names
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, cert, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, cert, err
	}
	text = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	cert, err = tls.X509KeyPair(text, text)
	return text, cert, err
}
