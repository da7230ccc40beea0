package store

import (
	"encoding/binary"
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

// array returns the column as an array of PostgreSQL: in its text form, or in its binary form when it is of bytes.
func (c *column) array(n int) any {
	if c.bytes != nil {
		return c.byteArray(n)
	}
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
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

// byteaOID is the number of PostgreSQL's type bytea.
const byteaOID = 17

// byteArray returns the binary form of an array of bytes, as array_recv of PostgreSQL reads it: dimensions, whether there
// are NULLs, type, number and first index of the elements; then length and bytes of each. The text form is twice as large,
// and more while it is parsed.
func (c *column) byteArray(n int) []byte {
	const dimensions, nulls, first = 1, 0, 1
	size := 20
	for i := range n {
		size += 4 + len(c.bytes(i))
	}
	b := make([]byte, 0, size)
	for _, v := range []int{dimensions, nulls, byteaOID, n, first} {
		b = binary.BigEndian.AppendUint32(b, uint32(v)) //nolint:gosec // rows of one statement
	}
	for i := range n {
		data := c.bytes(i)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...) //nolint:gosec // bounded by the size of a message
	}
	return b
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
