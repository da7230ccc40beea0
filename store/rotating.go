package store

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// A rotating connector reads its URL from a file again for each connection, so that a new password needs no restart. A file
// that cannot be read or used leaves the former URL in force.
type rotating struct {
	file    string
	timeout time.Duration
	log     *slog.Logger

	mu      sync.Mutex
	url     string
	current *connector
}

// Connect implements [driver.Connector].
func (r *rotating) Connect(ctx context.Context) (driver.Conn, error) { return r.latest().Connect(ctx) }

// Driver implements [driver.Connector].
func (r *rotating) Driver() driver.Driver { return r.latest().Driver() }

func (r *rotating) latest() *connector {
	data, err := os.ReadFile(r.file)
	url := strings.TrimSpace(string(data))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.log.Warn("the file of the database URL cannot be read; its last URL stays in force", "error", err)
		return r.current
	}
	if url == r.url {
		return r.current
	}
	next, err := connectorOf(url, r.timeout)
	if err != nil {
		r.log.Warn("the file of the database URL holds none that can be used; its last URL stays in force") // err may repeat it
		return r.current
	}
	r.url, r.current = url, next
	r.log.Info("the database URL was read anew")
	return r.current
}
