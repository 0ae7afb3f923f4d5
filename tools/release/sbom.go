package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A bill of materials as CycloneDX 1.5 has it (cyclonedx.org/docs/1.5/json), with
// what a Go program's own build information tells.
type bom struct {
	Format      string       `json:"bomFormat"`
	SpecVersion string       `json:"specVersion"`
	Version     int          `json:"version"`
	Metadata    metadata     `json:"metadata"`
	Components  []component  `json:"components"`
	DependsOn   []dependency `json:"dependencies"`
}

type metadata struct {
	Component  component  `json:"component"`
	Properties []property `json:"properties"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Hashes  []hash `json:"hashes,omitempty"`
	PURL    string `json:"purl"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

func sbom(binary, version string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	name := strings.TrimSuffix(filepath.Base(binary), ".exe")
	program := component{
		Type: "application", Ref: name, Name: name, Version: version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		PURL:   purl(info.Main.Path, version) + "#" + strings.TrimPrefix(info.Path, info.Main.Path+"/"),
	}
	doc := bom{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Metadata: metadata{Component: program}}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED", "-ldflags", "-trimpath":
			doc.Metadata.Properties = append(doc.Metadata.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	// Advisories call it stdlib.
	std := component{Type: "library", Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}
	std.PURL = purl(std.Name, std.Version)
	doc.Components = append(doc.Components, std)
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
		// go.sum's h1 is the SHA-256 of a list of the module's files.
		if raw, ok := strings.CutPrefix(m.Sum, "h1:"); ok {
			tree, err := base64.StdEncoding.DecodeString(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.Path, err)
			}
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(tree)}}
		}
		doc.Components = append(doc.Components, c)
	}
	needs := dependency{Ref: program.Ref}
	for i := range doc.Components {
		doc.Components[i].Ref = doc.Components[i].PURL
		needs.On = append(needs.On, doc.Components[i].Ref)
	}
	doc.DependsOn = []dependency{needs}

	text, err := json.MarshalIndent(doc, "", "  ")
	return append(text, '\n'), err
}

// purl names a module as github.com/package-url/purl-spec has it.
func purl(module, version string) string {
	return "pkg:golang/" + path.Clean(module) + "@" + strings.ReplaceAll(version, "+", "%2B")
}
