//go:build linux

package main

import (
	"bytes"
	"go/ast"
	"go/build"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// hollow writes a package anew with nothing in it but what others see of it, so
// that a program can be built without what the package needs: functions do nothing
// and give zeros, structs have their exported and embedded fields only. replace gets an entry
// for each file, for go build's -overlay.
func hollow(dir, to string, replace map[string]string) error {
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, name := range pkg.GoFiles {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		empty(file)
		var text bytes.Buffer
		if err := format.Node(&text, set, file); err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			return err
		}
		replace[filepath.Join(dir, name)] = path
	}
	return nil
}

func empty(file *ast.File) {
	var kept []ast.Decl
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() {
				giveZeros(d)
				kept = append(kept, d)
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR && d.Tok != token.IMPORT {
				kept = append(kept, d)
				continue
			}
			var specs []ast.Spec
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); !ok || v.Names[0].IsExported() {
					specs = append(specs, spec)
				}
			}
			if d.Specs = specs; len(specs) > 0 {
				kept = append(kept, d)
			}
		}
	}
	file.Decls, file.Comments = kept, nil
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.StructType); ok {
			var fields []*ast.Field
			for _, f := range s.Fields.List {
				if len(f.Names) == 0 || f.Names[0].IsExported() {
					fields = append(fields, f)
				}
			}
			s.Fields.List = fields
		}
		return true
	})
	dropImports(file)
}

// giveZeros makes the function do nothing.
func giveZeros(f *ast.FuncDecl) {
	if f.Type.Results != nil {
		for i, r := range f.Type.Results.List {
			if len(r.Names) == 0 {
				r.Names = []*ast.Ident{ast.NewIdent("r" + strconv.Itoa(i))}
			}
		}
	}
	f.Body = &ast.BlockStmt{List: []ast.Stmt{&ast.ReturnStmt{}}}
}

// dropImports leaves out the imports that nothing needs any more.
func dropImports(file *ast.File) {
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	for i := 0; i < len(file.Decls); i++ {
		d, ok := file.Decls[i].(*ast.GenDecl)
		if !ok || d.Tok != token.IMPORT {
			continue
		}
		var specs []ast.Spec
		for _, spec := range d.Specs {
			if s := spec.(*ast.ImportSpec); used[importName(s)] {
				specs = append(specs, s)
			}
		}
		if d.Specs = specs; len(specs) == 0 {
			file.Decls = append(file.Decls[:i], file.Decls[i+1:]...)
			i--
		}
	}
}

// importName guesses the name of what is imported.
func importName(s *ast.ImportSpec) string {
	if s.Name != nil {
		return s.Name.Name
	}
	path, _ := strconv.Unquote(s.Path.Value) // it was parsed
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	if len(parts) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		last = parts[len(parts)-2]
	}
	return strings.TrimPrefix(last, "go-")
}
