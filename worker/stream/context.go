package stream

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// A savedContext is a configuration saved by `nats context save` (NATS ADR-21). It is another program's file, so unknown
// members are ignored; known ones that cannot be honoured are an error.
type savedContext struct {
	URL         string `json:"url"`
	User        string `json:"user"`
	RawPassword string `json:"password"`
	RawToken    string `json:"token"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	CA          string `json:"ca"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	NSC         string `json:"nsc"`
	UserJWT     string `json:"user_jwt"`
	SOCKS       string `json:"socks_proxy"`
	TLSFirst    bool   `json:"tls_first"`
	Domain      string `json:"jetstream_domain"`
	APIPrefix   string `json:"jetstream_api_prefix"`
	InboxPrefix string `json:"inbox_prefix"`
}

// readContext reads the context called name from dir, or from where the nats client keeps them.
func readContext(name, dir string) (savedContext, error) {
	op := "read NATS context " + name
	if dir == "" {
		config := os.Getenv("XDG_CONFIG_HOME")
		if config == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return savedContext{}, &Error{Op: op, Class: ErrOptions, Hint: "set HOME, or use --nats-url", Err: err}
			}
			config = filepath.Join(home, ".config")
		}
		dir = filepath.Join(config, "nats", "context")
	}
	if name != filepath.Base(name) || strings.Contains(name, "..") {
		return savedContext{}, &Error{Op: op, Class: ErrOptions, Hint: "give the name of a context, not a path"}
	}
	raw, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		hint := "none is saved; `nats context save` makes one"
		if known := contextNames(dir); len(known) > 0 {
			hint = "saved ones are: " + strings.Join(known, ", ")
		}
		return savedContext{}, &Error{Op: op, Class: ErrOptions, Hint: hint, Err: err}
	}
	if err != nil {
		return savedContext{}, &Error{Op: op, Class: ErrOptions, Hint: "check the file's permissions", Err: err}
	}
	var s savedContext
	if err := json.Unmarshal(raw, &s); err != nil {
		// The error text of encoding/json may quote the file, which holds a password.
		return savedContext{}, &Error{Op: op, Class: ErrOptions, Hint: "`nats context validate` says what is wrong with the file"}
	}
	for member, used := range map[string]bool{
		"nsc": s.NSC != "", "user_jwt": s.UserJWT != "", "socks_proxy": s.SOCKS != "", "tls_first": s.TLSFirst,
	} {
		if used {
			return savedContext{}, &Error{
				Op: op, Class: ErrOptions,
				Hint: "it uses " + member + ", which idpsync does not support; use --nats-url with --nats-creds or TLS files",
			}
		}
	}
	for _, p := range []*string{&s.Creds, &s.NKey, &s.CA, &s.Cert, &s.Key} {
		if rest, ok := strings.CutPrefix(*p, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				*p = filepath.Join(home, rest)
			}
		}
	}
	return s, nil
}

func contextNames(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	sort.Strings(names)
	return names
}

// under fills what o leaves open. A login given in o replaces the context's login as a whole.
func (s savedContext) under(o Options) Options {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&o.URL, s.URL)
	if !o.ownLogin() {
		o.User, o.Password, o.Token = s.User, providers.Secret(s.RawPassword), providers.Secret(s.RawToken)
		o.Creds, o.NKey = s.Creds, s.NKey
	}
	def(&o.CA, s.CA)
	if o.Cert == "" && o.Key == "" {
		o.Cert, o.Key = s.Cert, s.Key
	}
	if o.Domain == "" && o.APIPrefix == "" {
		o.Domain, o.APIPrefix = s.Domain, s.APIPrefix
	}
	def(&o.InboxPrefix, s.InboxPrefix)
	return o
}
