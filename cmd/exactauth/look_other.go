//go:build !linux && !darwin && !windows

package main

import "os"

func takesEscapes(*os.File) bool { return true }

func inForeground(*os.File) bool { return true }

const hidesPaste = false
