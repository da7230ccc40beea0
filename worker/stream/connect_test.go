package stream_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/stream"
)

func TestConnectErrorsSayWhatToDo(t *testing.T) {
	s := broker(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, test := range map[string]struct {
		o     stream.Options
		class error
		want  string
	}{
		"nobody there":     {stream.Options{URL: "nats://" + nobody}, stream.ErrUnreachable, "--nats-url"},
		"wrong password":   {stream.Options{URL: s.URL(), User: "idpsync", Password: "wrong"}, stream.ErrRefused, "--data-dir"},
		"no login":         {stream.Options{URL: s.URL()}, stream.ErrRefused, "--data-dir"},
		"no such host":     {stream.Options{URL: "nats://host.invalid:4222"}, stream.ErrUnreachable, "--nats-url"},
		"not an address":   {stream.Options{URL: "nats://h:x"}, stream.ErrOptions, "nats://host:port"},
		"not a broker":     {stream.Options{URL: "nats://" + other.Addr().String()}, stream.ErrUnreachable, "something else"},
		"no creds file":    {stream.Options{URL: s.URL(), Creds: missing}, stream.ErrOptions, "--nats-creds"},
		"no nkey file":     {stream.Options{URL: s.URL(), NKey: missing}, stream.ErrOptions, "--nats-nkey"},
		"no CA file":       {stream.Options{URL: s.URL(), CA: missing}, stream.ErrOptions, "--nats-ca"},
		"no certificate":   {stream.Options{URL: s.URL(), Cert: missing, Key: missing}, stream.ErrOptions, "--nats-cert"},
		"key without cert": {stream.Options{URL: s.URL(), Key: missing}, stream.ErrOptions, "needs its key"},
		"no context":       {stream.Options{Context: "nope", ContextDir: t.TempDir()}, stream.ErrOptions, "nats context save"},
		"context by path":  {stream.Options{Context: "../nope", ContextDir: t.TempDir()}, stream.ErrOptions, "not a path"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := stream.Connect(t.Context(), test.o)
			if err == nil {
				c.Close()
				t.Fatal("it connected")
			}
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v: want %v and %q", err, test.class, test.want)
			}
		})
	}
}

func TestConnectionErrorsHideThePassword(t *testing.T) {
	_, err := stream.Connect(t.Context(), stream.Options{URL: "nats://user:hush@127.0.0.1:1,nats://tok@127.0.0.1:1"})
	if err == nil || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "tok@") {
		t.Fatalf("connecting fails with %v, want an error without password and token", err)
	}
}

func TestConnectStopsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := stream.Connect(ctx, stream.Options{URL: "nats://" + silent.Addr().String()}); err == nil {
		t.Fatal("it connected")
	}
}

func TestSavedContext(t *testing.T) {
	s := broker(t)
	dir := t.TempDir()
	save := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cr := s.Credentials()
	save("good", `{"description":"x","url":"`+cr.URL+`","user":"`+cr.User+`","password":"`+cr.Password.Reveal()+`","color_scheme":"red"}`)
	save("wrong", `{"url":"`+cr.URL+`","user":"x","password":"y"}`)
	save("nsc", `{"url":"x","nsc":"nsc://o/a/u"}`)
	save("broken", `{"password":"hush`)

	c := dial(t, stream.Options{Context: "good", ContextDir: dir})
	if c.URL() != cr.URL || !c.Connected() || c.Status() != "connected" {
		t.Errorf("the connection to %s is %s, want it connected to %s", c.URL(), c.Status(), cr.URL)
	}
	dial(t, stream.Options{Context: "wrong", ContextDir: dir, User: cr.User, Password: cr.Password}) // what is given wins
	for name, want := range map[string]string{"wrong": "login", "nsc": "does not support", "broken": "nats context validate", "other": "broken, good, nsc, wrong"} {
		_, err := stream.Connect(t.Context(), stream.Options{Context: name, ContextDir: dir})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: connecting fails with %v, want %q in it and no password", name, err, want)
		}
	}
}

func TestDrainClosesTheConnection(t *testing.T) {
	s := broker(t)
	var out logBuffer
	o := s.Credentials().Options()
	o.Log = slog.New(slog.NewTextHandler(&out, nil))
	c, err := stream.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal("again:", err)
	}
	if out.String() != "" {
		t.Error("an orderly end is worth no line:", out.String())
	}
}
