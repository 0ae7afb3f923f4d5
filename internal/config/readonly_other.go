//go:build !linux && !darwin

package config

func readOnly(string) bool { return false } // unknown
