package store

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// columns are the rows of one statement, column by column. PostgreSQL gets them as arrays, where a column with one value
// throughout (a tenant, a time) is a single parameter; SQLite gets them row by row.
type columns struct {
	n    int
	cols []column
}

type column struct {
	name  string
	typ   string                     // in PostgreSQL
	text  func(i int) (string, bool) // PostgreSQL's text form; false means NULL
	bytes func(i int) []byte         // set for bytea, in place of text
	value func(i int) any            // what SQLite is given
}

func newColumns(n int) *columns { return &columns{n: n} }

func (c *columns) text(name string, f func(i int) string) { c.string(name, "text", f) }

func (c *columns) string(name, typ string, f func(i int) string) {
	c.cols = append(c.cols, column{
		name: name, typ: typ,
		text:  func(i int) (string, bool) { return f(i), true },
		value: func(i int) any { return f(i) },
	})
}

// optional stores "" as NULL.
func (c *columns) optional(name string, f func(i int) string) {
	c.cols = append(c.cols, column{
		name: name, typ: "text",
		text:  func(i int) (string, bool) { s := f(i); return s, s != "" },
		value: func(i int) any { return text(f(i)) },
	})
}

func (c *columns) uuid(name string, f func(i int) string) {
	c.cols = append(c.cols, column{
		name: name, typ: "uuid",
		text:  func(i int) (string, bool) { return f(i), true },
		value: func(i int) any { return strings.ToLower(f(i)) },
	})
}

func (c *columns) optionalUUID(name string, f func(i int) string) {
	c.cols = append(c.cols, column{
		name: name, typ: "uuid",
		text:  func(i int) (string, bool) { s := f(i); return s, s != "" },
		value: func(i int) any { return text(strings.ToLower(f(i))) },
	})
}

func (c *columns) numbers(name, typ string, f func(i int) int64) {
	c.cols = append(c.cols, column{
		name: name, typ: typ,
		text:  func(i int) (string, bool) { return strconv.FormatInt(f(i), 10), true },
		value: func(i int) any { return f(i) },
	})
}

// number numbers the rows.
func (c *columns) number(name, typ string) {
	c.numbers(name, typ, func(i int) int64 { return int64(i) })
}

func (c *columns) bool(name string, f func(i int) bool) {
	c.cols = append(c.cols, column{
		name: name, typ: "boolean",
		text:  func(i int) (string, bool) { return strconv.FormatBool(f(i)), true },
		value: func(i int) any { return f(i) },
	})
}

func (c *columns) time(name string, f func(i int) time.Time) {
	c.cols = append(c.cols, column{
		name: name, typ: "timestamptz",
		text:  func(i int) (string, bool) { return timestamp(f(i)), true },
		value: func(i int) any { return at(f(i)) },
	})
}

func (c *columns) blob(name string, f func(i int) []byte) {
	c.cols = append(c.cols, column{
		name: name, typ: "bytea", bytes: f,
		value: func(i int) any { return blob(f(i)) },
	})
}

// The nullable ones take a pointer, of which nil is NULL.

func (c *columns) nullText(name string, f func(i int) *string) {
	c.cols = append(c.cols, column{
		name: name, typ: "text",
		text: func(i int) (string, bool) {
			if p := f(i); p != nil {
				return *p, true
			}
			return "", false
		},
		value: func(i int) any {
			if p := f(i); p != nil {
				return *p
			}
			return nil
		},
	})
}

func (c *columns) nullBool(name string, f func(i int) *bool) {
	c.cols = append(c.cols, column{
		name: name, typ: "boolean",
		text: func(i int) (string, bool) {
			if p := f(i); p != nil {
				return strconv.FormatBool(*p), true
			}
			return "", false
		},
		value: func(i int) any {
			if p := f(i); p != nil {
				return *p
			}
			return nil
		},
	})
}

// names lists the columns.
func (c *columns) names() string {
	names := make([]string, len(c.cols))
	for i, col := range c.cols {
		names[i] = col.name
	}
	return strings.Join(names, ", ")
}

// row returns row i for SQLite.
func (c *columns) row(i int) []any {
	args := make([]any, len(c.cols))
	for k := range c.cols {
		args[k] = c.cols[k].value(i)
	}
	return args
}

// single is a table of one row of parameters.
func (c *columns) single() string {
	var b strings.Builder
	b.WriteString("(select ")
	for k, col := range c.cols {
		if k > 0 {
			b.WriteString(", ")
		}
		b.WriteString("? as " + col.name)
	}
	b.WriteString(")")
	return b.String()
}

// insert is SQLite's statement for one row of the table.
func (c *columns) insert(table, conflict string) string {
	return "insert into " + table + " (" + c.names() + ") values (?" + strings.Repeat(", ?", len(c.cols)-1) + ")" + conflict
}

// numbered is a table of all rows for PostgreSQL, which takes its parameters from the end of args.
func (c *columns) numbered(args *[]any) string {
	param := func(v any, typ string) string {
		*args = append(*args, v)
		return "$" + strconv.Itoa(len(*args)) + "::" + typ
	}
	var fields, arrays, names []string
	for k := range c.cols {
		col := &c.cols[k]
		if col.constant(c.n) && (c.n == 1 || k < len(c.cols)-1 || len(arrays) > 0) {
			fields = append(fields, param(col.scalar(), col.typ)+" as "+col.name)
			continue
		}
		fields = append(fields, col.name)
		arrays = append(arrays, param(col.array(c.n), col.typ+"[]"))
		names = append(names, col.name)
	}
	q := "(select " + strings.Join(fields, ", ")
	if len(arrays) > 0 {
		q += " from unnest(" + strings.Join(arrays, ", ") + ") t (" + strings.Join(names, ", ") + ")"
	}
	return q + ")"
}

// constant reports whether all n rows have the same value. Bytes are not compared: they rarely are equal.
func (c *column) constant(n int) bool {
	if n == 1 {
		return true
	}
	if c.bytes != nil {
		return false
	}
	first, ok := c.text(0)
	for i := 1; i < n; i++ {
		if s, o := c.text(i); o != ok || s != first {
			return false
		}
	}
	return true
}

func (c *column) scalar() any {
	if c.bytes != nil {
		if b := c.bytes(0); b != nil {
			return b
		}
		return []byte{}
	}
	if s, ok := c.text(0); ok {
		return s
	}
	return nil
}

// array returns PostgreSQL's text form of the column as an array.
func (c *column) array(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	var buf []byte
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		if c.bytes != nil {
			b.WriteString(`"\\x`)
			buf = hex.AppendEncode(buf[:0], c.bytes(i))
			b.Write(buf)
			b.WriteByte('"')
			continue
		}
		s, ok := c.text(i)
		if !ok {
			b.WriteString("NULL")
			continue
		}
		quote(&b, s)
	}
	b.WriteByte('}')
	return b.String()
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for {
		k := strings.IndexAny(s, `"\`)
		if k < 0 {
			break
		}
		b.WriteString(s[:k])
		b.WriteByte('\\')
		b.WriteByte(s[k])
		s = s[k+1:]
	}
	b.WriteString(s)
	b.WriteByte('"')
}

// timestamp is PostgreSQL's text form of a time.
func timestamp(t time.Time) string { return at(t).Format("2006-01-02 15:04:05.999999Z07:00") }
