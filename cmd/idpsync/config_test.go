package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/original"
)

// resolve resolves the settings of a verb that takes all of them.
func resolve(environ map[string]string, args ...string) (config, error) {
	a := &app{environ: environ, stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, now: time.Now}
	cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }}
	a.addSettings(cmd, areaStore, areaBroker, areaTrust, areaRun)
	if err := cmd.ParseFlags(args); err != nil {
		return config{}, err
	}
	return a.config(cmd)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNothingNeedsToBeSet(t *testing.T) {
	c, err := resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		DataDir: "./idpsync-data", NATSListen: "127.0.0.1:4222", HTTPListen: "127.0.0.1:8080", AdminListen: "127.0.0.1:8081",
		LogLevel: "info", LogFormat: "text", BatchSize: 500, MaxPayload: 1 << 20, ResultSize: 64 << 10, Durability: "process", Wait: 2 * time.Minute,
		DrainTimeout: 20 * time.Second, LoginsBudget: time.Hour, FeedsBudget: 24 * time.Hour, DurablePasswords: "refuse",
		WeakHashes: "refuse", ReplyInboxes: []string{"_INBOX"}, LetterQuota: 10_000, LetterQuotaBytes: 256 << 20,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "c.yaml", "data_dir: file\nbatch_size: 7\nlog_level: debug\nfeeds_budget: 2d\n")
	environ := map[string]string{"IDPSYNC_CONFIG": file, "IDPSYNC_DATA_DIR": "env", "IDPSYNC_BATCH_SIZE": "8", "IDPSYNC_LOG_FORMAT": ""}
	c, err := resolve(environ, "--data-dir", "flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "flag" || c.BatchSize != 8 || c.LogLevel != "debug" || c.FeedsBudget != 48*time.Hour || c.LogFormat != "text" {
		t.Errorf("the configuration is %+v, want flags before the environment before the file", c)
	}
	other := writeFile(t, "other.yaml", "data_dir: other\n")
	if c, err = resolve(map[string]string{"IDPSYNC_CONFIG": file}, "--config", other); err != nil || c.DataDir != "other" || c.BatchSize != 500 {
		t.Errorf("--config does not win over IDPSYNC_CONFIG: %+v, %v", c, err)
	}
}

func TestDatabaseURLFile(t *testing.T) {
	const url = "postgres://idpsync:hunter2@db.example/idpsync"
	c, err := resolve(nil, "--database-url-file", writeFile(t, "db.url", url+"\n"))
	if err != nil || c.DatabaseURL != url {
		t.Errorf("the URL is %q with the error %v, want that of the file, %q", c.DatabaseURL, err, url)
	}
}

// What is wrong with a URL is said without repeating it, as it may hold a password.
func TestFaultsHoldNoPassword(t *testing.T) {
	for _, args := range [][]string{
		{"--database-url", "mysql://u:hunter2@h/d"},
		{"--database-url", "postgres://u:hunter2@h:port/d"},
		{"--database-url", "host=h password=hunter2"},
		{"--nats-url", "nats://u:hunter2@"},
		{"--nats-url", "nats://u:hunter2@h:port"},
		{"--config", writeFile(t, "c.yaml", "database_url: postgres://u:hunter2@h/d\nnats_url: nats://a,nats://u:hunter2@b\n")},
		{"--config", writeFile(t, "c.yaml", "database_url: postgres://h/d?password=hunter2\nnats_url: \"nats://u:hunter2@%\"\n")},
	} {
		_, err := resolve(nil, args...)
		if err == nil || exitCode(err) != kit.ExitUsage || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: the error is %v, want one of usage without the password", args, err)
		}
	}
}

func TestSettingTexts(t *testing.T) {
	for key, texts := range map[string]struct{ good, bad []string }{
		"http_listen":       {[]string{"127.0.0.1:0", ":8080", "[::1]:80", "localhost:65535", "off"}, []string{"8080", "host", "h:65536", "h:-1", "h:http", "h:"}},
		"max_payload":       {[]string{"1048576", "1MiB", "64MiB", "2 KiB"}, []string{"1MB", "0", "-1", "65MiB", "MiB", "99999999999999999999", "17179869184GiB"}},
		"dead_letter_quota": {[]string{"1", "100000000"}, []string{"0", "100000001", "many"}},
		"result_size":       {[]string{"1KiB", "64MiB"}, []string{"1023", "65MiB"}},
		"batch_size":        {[]string{"1", "5000"}, []string{"0", "5001", "1e3", "", " 5"}[:2]},
		"drain_timeout":     {[]string{"20s", "1m30s", "7d"}, []string{"20", "0s", "-5s", "d", "1.5d", "forever"}},
		"nats_url":          {[]string{"nats://h:4222", "tls://a,tls://b", "nats://a, nats://b", "wss://h:443"}, []string{"h:4222", "http://h", "nats://", "nats://a,"}},
		"database_url":      {[]string{"postgres://u@h/d", "postgresql://h/d?sslmode=disable", "postgres:///d?host=/run/postgresql"}, []string{"h/d", "sqlite://x", "postgres:///d"}},
		"durable_passwords": {[]string{"refuse", "accept"}, []string{"yes", "Refuse"}},
		"durability":        {[]string{"process", "power"}, []string{"disk"}},
		"log_format":        {[]string{"text", "json"}, []string{"JSON"}},
	} {
		flag := "--" + strings.ReplaceAll(key, "_", "-")
		for _, text := range texts.good {
			if _, err := resolve(nil, flag, text); err != nil {
				t.Errorf("%s %q: %v", key, text, err)
			}
		}
		for _, text := range texts.bad {
			if _, err := resolve(nil, flag, text); err == nil {
				t.Errorf("%s %q was taken", key, text)
			}
		}
	}
}

// Every setting has a place of its own, and its three names all reach it.
func TestEverySettingIsReached(t *testing.T) {
	texts := map[string]string{
		"log_level": "error", "log_format": "json", "database_url": "postgres://h/d", "nats_url": "nats://h", "batch_size": "9", "concurrency": "9",
		"max_payload": "9KiB", "result_size": "9KiB", "durability": "power", "wait": "9s", "drain_timeout": "9s", "logins_budget": "9s", "feeds_budget": "9s", "durable_passwords": "accept", "weak_password_hashes": "accept",
		"nats_listen": "h:9", "http_listen": "h:9", "admin_listen": "h:9", "dead_letter_quota": "9", "dead_letter_quota_bytes": "9MiB",
		"trusted_domains": "edge=2489e9ad-2ee2-8e00-8ec9-32d5f69181c0",
	}
	// What the settings say together is another test's matter: here each stands alone.
	alone := func(c config, err error) config {
		t.Helper()
		if v, ok := errors.AsType[*kit.Error](err); ok && !strings.Contains(v.Error(), "go together") && !strings.Contains(v.Error(), "cannot read") {
			t.Error("a setting alone is refused: ", err)
		}
		return c
	}
	base := alone(resolve(nil))
	for _, s := range settings() {
		text := texts[s.key]
		if text == "" {
			text = "nine"
		}
		if s.key == "database_url_file" {
			text = writeFile(t, "url", "postgres://h/d")
		}
		extra := map[string]string{"http_cert": "http_key", "http_key": "http_cert", "nats_cert": "nats_key", "nats_key": "nats_cert"}[s.key]
		environ := map[string]string{s.variable(): text}
		flags := []string{"--" + s.flag(), text}
		file := s.key + ": " + text + "\n"
		if extra != "" {
			environ["IDPSYNC_"+strings.ToUpper(extra)] = "x"
			flags = append(flags, "--"+strings.ReplaceAll(extra, "_", "-"), "x")
			file += extra + ": x\n"
		}
		byEnv := alone(resolve(environ))
		byFlag := alone(resolve(nil, flags...))
		byFile := alone(resolve(nil, "--config", writeFile(t, "c.yaml", file)))
		if reflect.DeepEqual(byEnv, base) {
			t.Errorf("%s does nothing", s.variable())
		}
		if !reflect.DeepEqual(byEnv, byFlag) || !reflect.DeepEqual(byEnv, byFile) {
			t.Errorf("%s: variable, flag and file differ:\n%+v\n%+v\n%+v", s.key, byEnv, byFlag, byFile)
		}
	}
}

func TestTrustIsForTheTenantsOfTheSetting(t *testing.T) {
	c, err := resolve(nil, "--trusted-domains", "edge=2489E9AD-2EE2-8E00-8EC9-32D5F69181C0, far=*,edge=3489e9ad-2ee2-8e00-8ec9-32d5f69181c0,far=*")
	want := original.Trust{"edge": {"2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"}, "far": {"*"}}
	if err != nil || !reflect.DeepEqual(c.TrustedDomains, want) {
		t.Errorf("the setting is read as %v (%v), want %v", c.TrustedDomains, err, want)
	}
}

// TestSubjectsAndNamesOfTheBrokerAreChecked has settings that would let requesters write elsewhere, or fit into no subject.
func TestSubjectsAndNamesOfTheBrokerAreChecked(t *testing.T) {
	const tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	for setting, texts := range map[string]map[string]bool{
		"--reply-inboxes": {
			"_INBOX": true, "_INBOX,answers.": true, "_R_": true,
			"": true, ",": false, "idpsync.result": false, "idps": false, "i": false, "$JS": false, "$": false, "_INBOX,$SYS": false, "a.>": false, "*": false, "a b": false, ".a": false,
		},
		"--nats-consumers": {"ops-1": true, "ops-1, ops-2": true, "ops.1": false, "ops-*": false, "a,,b": false, "a b": false},
		"--nats-js-domain": {"hub": true, "hub-1": true, "a.b": false, "*": false, "a b": false, "$JS": false},
		"--trusted-domains": {
			"edge=" + tenant: true, "edge=*": true, "edge=" + strings.ToUpper(tenant) + ", far=*": true,
			"edge": false, "edge=": false, "=*": false, "edge=acme": false, "edge=*,": false, "a.b=*": false, "*=*": false,
		},
		"--operator": {"alice": true, "ops-2": true, "Alice": false, "a.b": false, ">": false, strings.Repeat("a", 64): false},
	} {
		for text, ok := range texts {
			if _, err := resolve(nil, setting, text, "--nats-url", "nats://h"); (err == nil) != ok {
				t.Errorf("%s %q is taken with the error %v, want it taken: %v", setting, text, err, ok)
			}
		}
	}
}
