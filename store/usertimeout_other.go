//go:build !linux

package store

import "time"

// setUserTimeout does nothing: other systems have no such option, or another one. Keep-alive and the bounds of calls remain.
func setUserTimeout(uintptr, time.Duration) error { return nil }
