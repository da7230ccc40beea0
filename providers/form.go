package providers

import "time"

// A Setting is a key of a declared source, with how its value is read and checked.
type Setting struct {
	Key  string
	Read func(Value, *Source)
}

// A Place is where something stands in a declaration.
type Place interface {
	// Fail reports a fault: the declaration is not applied. The hint says what to do.
	Fail(hint, format string, args ...any)
	// Warn tells what works and should not stay.
	Warn(hint, format string, args ...any)
}

// A Value is what a declared source has for a key. A value of the wrong type is reported by who asks for it, and read
// as the zero value.
type Value interface {
	Place

	Text() string
	IsText() bool // be it empty
	Bool() bool
	Duration() time.Duration
	// Texts reads a list without repeats, each item with its place.
	Texts() ([]string, []Place)
	IsEmptyList() bool
	// Word reads one of a few words; what names the value in a fault.
	Word(what string, words ...string) string
	// URL reads an https URL, or an http one on loopback.
	URL(what string) string
	// File reads the file that the value names. It is relative to the folder of the declaration.
	File(limit int64) (File, bool)
	// Near is a hint that names the nearest of the words, or all.
	Near(word string, words []string) string
}

// A File is a file that a declaration names.
type File struct {
	Name string // as faults name it
	Path string // absolute
	Data []byte
}

// A Form is a declared source as a whole. Its own place is that of the source.
type Form interface {
	Place

	Has(key string) bool
	Key(key string) Place   // where the key stands; that of the source when it is absent
	Value(key string) Place // where its value stands
}
