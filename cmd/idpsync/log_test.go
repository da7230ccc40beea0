package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

func TestLogHidesSecrets(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out buffer
		log := newLogger(&out, slog.LevelDebug, format)
		for _, name := range []string{
			"authorization", "Authorization", "id_token", "access-token", "token", "X-API-Key", "api_key", "password", "new_password",
			"passwordHash", "client_secret", "Set-Cookie", "saml_response", "SAMLResponse", "assertion", "private_key", "nkey_seed", "bearer",
		} {
			log.Info("x", name, "hunter2")
			log.Info("x", slog.Group("request", name, "hunter2"))
			log.With(name, "hunter2").Info("x")
			log.WithGroup("header").Info("x", name, []string{"hunter2"})
		}
		log.Info("x", "value", providers.Secret("hunter2"))
		if s := out.String(); strings.Contains(s, "hunter2") {
			t.Errorf("%s: a secret was logged: %s", format, s)
		}
	}
}

func TestLogKeepsWhatHelps(t *testing.T) {
	var out buffer
	log := newLogger(&out, slog.LevelInfo, "text")
	log.Info("done", "source", "okta", "event_id", "e-1", "tokens", 3, "token_count", 4, "key_id", "k1", "thumbprint", "abc", "error", errors.New("no"))
	for _, want := range []string{"source=okta", "event_id=e-1", "tokens=3", "token_count=4", "key_id=k1", "thumbprint=abc", "error=no"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing: %s", want, out.String())
		}
	}
	log.Debug("quiet")
	if strings.Contains(out.String(), "quiet") {
		t.Error("the level is not kept")
	}
}
