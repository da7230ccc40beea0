package manifest

import (
	"net/netip"
	"net/url"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A value is a value of a source as its kind reads it.
type value struct {
	strictyaml.Value

	r *reader
}

var (
	_ providers.Value = value{}
	_ providers.Form  = form{}
)

// Warn implements [providers.Place].
func (v value) Warn(hint, format string, args ...any) { v.r.warn(v.Value, hint, format, args...) }

// Texts implements [providers.Value].
func (v value) Texts() ([]string, []providers.Place) {
	names, at := texts(v.Value)
	places := make([]providers.Place, len(at))
	for i := range at {
		places[i] = value{at[i], v.r}
	}
	return names, places
}

// Word implements [providers.Value].
func (v value) Word(what string, words ...string) string { return word(v.Value, what, words...) }

// URL implements [providers.Value].
func (v value) URL(what string) string { return webURL(v.Value, what) }

// Near implements [providers.Value].
func (v value) Near(word string, words []string) string { return strictyaml.DidYouMean(word, words) }

// File implements [providers.Value].
func (v value) File(limit int64) (providers.File, bool) {
	name := v.Text()
	if name == "" {
		return providers.File{}, false
	}
	data := v.r.contents(v.Value, limit)
	return providers.File{Name: v.r.beside(name), Path: v.r.path(name), Data: data}, data != nil
}

// A form is a source as its kind checks it.
type form struct {
	m *strictyaml.Mapping
	r *reader
}

// Has implements [providers.Form].
func (f form) Has(key string) bool { return f.m.Has(key) }

// Key implements [providers.Form].
func (f form) Key(key string) providers.Place { return value{f.m.Key(key), f.r} }

// Value implements [providers.Form].
func (f form) Value(key string) providers.Place { return value{f.m.Get(key), f.r} }

// Fail implements [providers.Place].
func (f form) Fail(hint, format string, args ...any) { f.m.Fail(hint, format, args...) }

// Warn implements [providers.Place].
func (f form) Warn(hint, format string, args ...any) { f.r.warn(f.m.Value, hint, format, args...) }

// word reads one of a few words.
func word(v strictyaml.Value, what string, words ...string) string {
	s := v.Text()
	if s == "" && !v.IsText() || slices.Contains(words, s) {
		return s
	}
	v.Fail(strictyaml.DidYouMean(s, words), "%s cannot be %q", what, s)
	return ""
}

// webURL reads an https URL, or an http one on loopback.
func webURL(v strictyaml.Value, what string) string {
	s := v.Text()
	if s == "" && !v.IsText() {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		v.Fail("as in https://acme.example/path", "%s is not a URL: %q", what, s)
	case u.User != nil:
		v.Fail("remove it; secrets are files", "%s holds a user name or password", what)
		return ""
	case u.Scheme == "http" && !loopback(u.Hostname()):
		v.Fail("use https; http is for loopback only", "%s is not https: %s", what, s)
	case u.Scheme != "http" && u.Scheme != "https":
		v.Fail("use https", "%s is not https: %s", what, s)
	default:
		return s
	}
	return ""
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
