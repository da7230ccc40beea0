package manifest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Render prints the changes for people, nested by tenant, with a summary at the end.
func (c Changes) Render(w io.Writer, colours bool) error {
	p := &printer{colours: colours}
	tenant := "\x00"
	for _, d := range c {
		depth := 1
		switch {
		case d.Kind == KindPolicy:
			depth = 0
		case d.Kind == KindTenant:
			tenant = d.Tenant
			depth = 0
		case d.Tenant != tenant:
			tenant = d.Tenant
			p.line(0, "", "tenant "+d.TenantName+" ("+d.Tenant+")")
		}
		p.line(depth, d.Op, d.title())
		if d.Op == Remove {
			continue
		}
		for _, f := range d.Fields {
			if d.Op == Add && (f.Name == "name" || f.Name == "scope") {
				continue
			}
			p.field(depth+1, f)
		}
	}
	if len(c) > 0 {
		fmt.Fprintf(&p.out, "\n%d to add, %d to change, %d to remove\n", c.Count(Add), c.Count(Change), c.Count(Remove))
	}
	_, err := io.WriteString(w, p.out.String())
	if err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	return nil
}

func (d Difference) title() string {
	s := d.Kind + " " + d.Name
	switch {
	case d.Kind == KindTenant:
		s += " (" + d.Tenant + ")"
		return s
	case d.Kind == KindRole && d.Scope == "organization":
		s += " of organizations"
	}
	if d.ID != "" {
		s += " (" + d.ID + ")"
	}
	return s
}

type printer struct {
	out     strings.Builder
	colours bool
}

func (p *printer) field(depth int, f Field) {
	switch {
	case strings.Contains(f.From+f.To, "\n"):
		p.line(depth, Change, f.Name)
		p.lines(depth+1, Remove, f.From)
		p.lines(depth+1, Add, f.To)
	case f.From == "":
		p.line(depth, Add, f.Name+": "+f.To)
	case f.To == "":
		p.line(depth, Remove, f.Name+": "+f.From)
	default:
		p.line(depth, Change, f.Name+": "+f.From+" -> "+f.To)
	}
}

func (p *printer) lines(depth int, op Op, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		p.line(depth, op, line)
	}
}

func (p *printer) line(depth int, op Op, text string) {
	mark, colour := " ", ""
	switch op {
	case Add:
		mark, colour = "+", "\x1b[32m"
	case Change:
		mark, colour = "~", "\x1b[33m"
	case Remove:
		mark, colour = "-", "\x1b[31m"
	}
	line := strings.TrimRight(strings.Repeat("    ", depth)+mark+" "+printable(text), " ")
	if p.colours && colour != "" {
		line = colour + line + "\x1b[0m"
	}
	p.out.WriteString(line + "\n")
}

// printable replaces what could move a terminal's cursor or hide text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '·'
	}, s)
}

func bracket(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// fingerprint stands for a document that is too long to show.
func fingerprint(data []byte) string {
	return fmt.Sprintf("%d bytes, sha256 %.6x", len(data), sha256.Sum256(data))
}

func age(raw json.RawMessage) string {
	var d time.Duration
	if err := json.Unmarshal(raw, &d); err != nil {
		return string(raw)
	}
	if day := 24 * time.Hour; d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
