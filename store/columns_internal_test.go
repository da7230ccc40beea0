package store

import (
	"strings"
	"testing"
)

// lib/pq sends what is a []byte in binary, and everything else as text.
func TestBytesGoToPostgreSQLInBinary(t *testing.T) {
	body := strings.Repeat("\x00", 1000)
	for n := range 3 {
		rows := make([]*Event, n+1)
		for i := range rows {
			rows[i] = &Event{Result: []byte(body)}
		}
		var args []any
		eventInsertColumns(rows).numbered(&args)
		size := 0
		for _, a := range args {
			if b, ok := a.([]byte); ok {
				size += len(b)
			}
		}
		if least := len(rows) * len(body); size < least || size > least+1000 {
			t.Errorf("%d rows with a body of %d bytes are sent with %d bytes in binary, wanted about %d", len(rows), len(body), size, least)
		}
	}
}
