//go:build !unix

package main

import (
	"io/fs"
	"os"
)

func keepGroup(*os.File, fs.FileInfo) bool { return true }
