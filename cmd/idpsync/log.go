package main

import (
	"io"
	"log/slog"
	"strings"
)

// newLogger makes the process's logger. What must stay secret is never logged in the first place; that attributes with
// a telling name are blanked is the second line of defence.
func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logger makes the logger that a configuration asks for; it writes to standard error.
func (a *app) logger(c config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	return newLogger(a.stderr, level, c.LogFormat)
}

const redacted = "[redacted]"

func redact(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() != slog.KindGroup && secretName(attr.Key) {
		return slog.String(attr.Key, redacted)
	}
	return attr
}

// secretName reports whether an attribute of this name may hold a secret. Names that only count or describe one do not.
func secretName(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(name))
	for _, harmless := range []string{"tokens", "secrets", "count", "thumbprint", "keyid", "credentialid", "tokenage", "passwords"} {
		if name == harmless || strings.HasSuffix(name, "count") {
			return false
		}
	}
	for _, part := range []string{
		"authorization", "token", "password", "passwd", "secret", "apikey", "assertion", "samlresponse", "cookie",
		"credentialvalue", "privatekey", "seed", "nonce", "phc", "passphrase", "bearer",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
