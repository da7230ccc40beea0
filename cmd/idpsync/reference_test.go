package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/idpsync/idpsync/cmd/idpsync/serve"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	referencePage = moduleRoot + "/deploy/REFERENCE.md"
	schemaFolder  = moduleRoot + "/deploy/schemas/"
)

// TestReference compares deploy/REFERENCE.md with what the program says of itself; -update writes it anew.
func TestReference(t *testing.T) {
	want := reference(t)
	if *update {
		if err := os.WriteFile(referencePage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the program says of itself; go test ./cmd/idpsync -run TestReference -update writes it anew", referencePage)
	}
}

func reference(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(`# Reference

Made from the program by ` + "`go test ./cmd/idpsync -run TestReference -update`" + `; changes belong there.

`)
	writeCommands(&b)
	writeSettings(&b)
	b.WriteString("## Exit codes\n\n```\n" + exitCodesText + "```\n\n")
	writeCodes(&b)
	writeMessages(t, &b)
	writeMetrics(t, &b)
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

// cell makes a text fit for a column.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func table(b *bytes.Buffer, heading ...string) func(cells ...string) {
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	row(slices.Clone(heading)...)
	b.WriteString(strings.Repeat("|---", len(heading)) + "|\n")
	return row
}

func writeCommands(b *bytes.Buffer) {
	b.WriteString("## Commands\n\nEvery command has `--help`. Flags that are settings are in the next section.\n\n")
	row := table(b, "command", "what it does", "its own flags")
	known := map[string]bool{"config": true, "help": true}
	for _, s := range settings() {
		known[s.flag()] = true
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasSubCommands() {
			for _, sub := range c.Commands() {
				walk(sub)
			}
			return
		}
		var flags []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !known[f.Name] && !f.Hidden {
				flags = append(flags, "`--"+f.Name+"`")
			}
		})
		slices.Sort(flags)
		row("`"+c.CommandPath()+strings.TrimPrefix(c.Use, c.Name())+"`", c.Short, strings.Join(flags, " "))
	}
	root := newRootCommand(&app{})
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			walk(c)
		}
	}
	b.WriteString("\n")
}

func writeSettings(b *bytes.Buffer) {
	b.WriteString("## Settings\n\nA flag wins over the environment, that over the file of `--config`, that over the default. Verbs take the flags that they\nuse; file and environment may hold all settings for every verb.\n\n")
	row := table(b, "in the file", "flag", "environment", "default", "meaning")
	for _, s := range settings() {
		value := "-"
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		row("`"+s.key+"`", "`--"+s.flag()+"`", "`"+s.variable()+"`", value, s.usage)
	}
	b.WriteString("\n")
}

func writeCodes(b *bytes.Buffer) {
	b.WriteString("## Codes\n\nThe codes of the error object. An event with one that is not transient becomes a dead letter when it came through the\nbroker; an ordinary repeat (`user_exists`) does not.\n\n")
	row := table(b, "code", "status", "transient")
	for _, c := range record.Codes() {
		transient := "no"
		if c.Transient() {
			transient = "yes"
		}
		row("`"+string(c)+"`", fmt.Sprint(c.Status()), transient)
	}
	b.WriteString("\n")
}

func writeMessages(t *testing.T, b *bytes.Buffer) {
	t.Helper()
	b.WriteString("## Messages\n\nThe JSON Schemas are in [schemas](schemas); [openapi.yaml](openapi.yaml) describes the HTTP API with them, and\n[asyncapi.yaml](asyncapi.yaml) the subjects on NATS.\n\n")
	files, err := filepath.Glob(schemaFolder + "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var s map[string]any
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		name := filepath.Base(f)
		fmt.Fprintf(b, "### %s\n\n[%s](schemas/%s): %s\n\n", s["title"], name, name, s["description"])
		if one, ok := s["oneOf"].([]any); ok {
			b.WriteString("One of:")
			for i, ref := range one {
				if i > 0 {
					b.WriteString(",")
				}
				fmt.Fprintf(b, " %s", ref.(map[string]any)["$ref"])
			}
			b.WriteString(".\n\n")
			continue
		}
		row := table(b, "member", "required", "meaning")
		writeMembers(row, "", s)
		b.WriteString("\n")
	}
}

func writeMembers(row func(...string), prefix string, s map[string]any) {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		p := properties[name].(map[string]any)
		must := ""
		if slices.Contains(required, any(name)) {
			must = "yes"
		}
		meaning, _ := p["description"].(string)
		if list, ok := p["enum"].([]any); ok {
			var words []string
			for _, w := range list {
				words = append(words, "`"+fmt.Sprint(w)+"`")
			}
			meaning += " One of " + strings.Join(words, ", ") + "."
		}
		row("`"+prefix+name+"`", must, meaning)
		if p["type"] == "object" {
			writeMembers(row, prefix+name+".", p)
		}
		if items, ok := p["items"].(map[string]any); ok && items["type"] == "object" {
			writeMembers(row, prefix+name+"[].", items)
		}
	}
}

func writeMetrics(t *testing.T, b *bytes.Buffer) {
	t.Helper()
	b.WriteString("## Metrics\n\nOn `/metrics` of `--admin-listen`, beside those of the Go runtime and the process.\n\n")
	m := serve.NewMetrics("test")
	m.Stage("commit", 1, 0)
	m.Outcome("okta", "stream", "created", "")
	m.TrustExpires([]directory.TrustEnd{{Tenant: "acme", Source: "adfs"}})
	m.ClockSkew(clock.Database, 0)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	row := table(b, "name", "kind", "labels", "meaning")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "idpsync_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		row("`"+f.GetName()+"`", strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
}
