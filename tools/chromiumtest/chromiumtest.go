// Package chromiumtest starts a real Chromium for a test, without the user's files and
// without background traffic.
package chromiumtest

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Start returns the context of a tab for chromedp. The browser ends with the test or
// after limit. Start skips the test where there is no Chromium, unless
// EXACTAUTH_TEST_REQUIRE has "chromium" in its list.
func Start(t *testing.T, limit time.Duration, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil && path == "" {
			path = p
		}
	}
	if path == "" {
		if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "chromium") {
			t.Fatal("EXACTAUTH_TEST_REQUIRE demands Chromium and there is none")
		}
		t.Skip("there is no Chromium on this machine")
	}
	home := t.TempDir()
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(900, 640),
		// Crash reports, certificates and caches are outside the profile's directory.
		chromedp.Env("HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_DATA_HOME="+home),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-dev-shm-usage", true),
	}, flags...)
	ctx, cancelLimit := context.WithTimeout(t.Context(), limit)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		// In this order, so that the browser ends before its directory is removed.
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAllocator()
		cancelLimit()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}
