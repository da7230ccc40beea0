// Package strictyaml reads YAML that people write by hand and machines must not misread: configuration and directory
// files.
//
// It accepts the plain part of YAML: mappings, lists and scalars. Anchors, aliases, merge keys, tags, directives and
// further documents are faults, as are duplicate keys, keys that nobody asked for, bad UTF-8, and documents that are
// larger or nested deeper than a person would write. Nothing is guessed: text that YAML reads as a number or a boolean
// is a fault where text is wanted.
//
// Faults are collected, never returned one at a time, and each knows its line and column. A reader walks the document
// through [Value] and [Mapping]; a value that is not there or of the wrong kind reads as its zero value, so that a
// reader needs no branches for faults, and asks [Document.Err] once at the end.
package strictyaml
