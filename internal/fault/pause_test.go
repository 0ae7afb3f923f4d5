package fault

import (
	"testing"
	"testing/synctest"
	"time"
)

// A suspend moves the wall clock and no timer.
func TestPauseCountsASuspend(t *testing.T) {
	for name, test := range map[string]struct {
		set  time.Duration // by which the wall clock is set during the pause
		most time.Duration // that the pause may take
		want time.Duration // that it must take
	}{
		"undisturbed": {0, time.Hour, time.Hour},
		"suspended":   {2 * time.Hour, 5 * time.Second, 0},
		"a part":      {30 * time.Minute, 30*time.Minute + 5*time.Second, 30 * time.Minute},
		"set back":    {-2 * time.Hour, time.Hour, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, read := time.Now(), false
			err := pause(t.Context(), time.Hour, func() time.Time {
				if !read {
					read = true
					return time.Now()
				}
				return time.Now().Add(test.set)
			})
			if took := time.Since(began); err != nil || took < test.want || took > test.most {
				t.Errorf("%s: %v after %s", name, err, took)
			}
		})
	}
}
