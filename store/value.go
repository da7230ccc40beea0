package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A stamp reads a time column of either database: timestamptz, or microseconds since 1970. NULL is the zero time.
type stamp struct{ time.Time }

// Scan implements sql.Scanner.
func (t *stamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("store: a time column holds %T", v)
	}
	return nil
}

// at is how a time is stored.
func at(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// maybe is how a time is stored where the zero time is NULL.
func maybe(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return at(t)
}

// text is how a string is stored where "" is NULL.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// A blob is how bytes are stored: never NULL; empty ones are read as nil.
type blob []byte

// Scan implements sql.Scanner.
func (b *blob) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*b = nil
	case []byte:
		*b = nil
		if len(v) > 0 {
			*b = append([]byte(nil), v...)
		}
	default:
		return fmt.Errorf("store: a bytes column holds %T", v)
	}
	return nil
}

// Value implements driver.Valuer.
func (b blob) Value() (driver.Value, error) {
	if b == nil {
		return []byte{}, nil
	}
	return []byte(b), nil
}

// A list is how strings are stored in one column: a JSON array. An empty one is read as nil.
type list []string

// Scan implements sql.Scanner.
func (l *list) Scan(v any) error {
	var s string
	switch v := v.(type) {
	case nil:
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		return fmt.Errorf("store: a list column holds %T", v)
	}
	*l = nil
	if s == "" || s == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(s), (*[]string)(l))
}

// Value implements driver.Valuer.
func (l list) Value() (driver.Value, error) { return l.String(), nil }

// String returns the JSON array.
func (l list) String() string {
	if len(l) == 0 {
		return "[]"
	}
	b, err := json.Marshal([]string(l))
	if err != nil { // strings always have a JSON form
		return "[]"
	}
	return string(b)
}

// limit is the size of a page.
func limit(n int) int {
	if n <= 0 {
		return DefaultLimit
	}
	return n
}

// A where collects the conditions of a query.
type where struct {
	conds []string
	args  []any
	bad   bool // nothing can match: an id is no UUID, which PostgreSQL would refuse
}

// add adds a condition written with ?.
func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

// uuid adds a condition on an id.
func (w *where) uuid(cond, id string) {
	w.bad = w.bad || !isUUID(id)
	w.add(cond, strings.ToLower(id))
}

// eq adds column = value unless value is "".
func (w *where) eq(column, value string) {
	if value != "" {
		w.add(column+" = ?", value)
	}
}

// String returns the where clause, or "".
func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " where " + strings.Join(w.conds, " and ")
}
