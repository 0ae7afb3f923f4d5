//go:build !unix

package config

import (
	"io/fs"
	"os"
)

func keepGroup(*os.File, fs.FileInfo) bool { return true }
