package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A config is every setting, resolved: a flag wins over the environment, that over the file, that over the default.
type config struct {
	DataDir string

	NATSURL      string // "": the embedded broker
	NATSUser     string
	NATSPassword string // path of a file
	NATSCreds    string
	NATSNKey     string
	NATSContext  string
	NATSCA       string
	NATSCert     string
	NATSKey      string
	NATSListen   string
	NATSInbox    string   // "": the client's own
	NATSReaders  []string // names of consumers; none: random ones
	NATSDomain   string   // of JetStream; "": that of the server
	Operator     string   // "": the name of the system's user

	DatabaseURL     string // "": SQLite under DataDir; resolved from DatabaseURLFile when that is set
	DatabaseURLFile string

	SealKeyFile string // "": seal.key under DataDir

	TrustedDomains original.Trust

	ReplyInboxes []string // what the reply subject of a request begins with

	HTTPListen  string
	HTTPCert    string
	HTTPKey     string
	AdminListen string

	LogLevel  string
	LogFormat string

	WorkerName       string // "": host name and process id
	BatchSize        int
	Concurrency      int // 0: the number of CPUs
	MaxPayload       int // bytes
	ResultSize       int // bytes
	Durability       string
	Wait             time.Duration
	DrainTimeout     time.Duration
	LoginsBudget     time.Duration
	FeedsBudget      time.Duration
	LetterQuota      int
	LetterQuotaBytes int
	DurablePasswords string
	WeakHashes       string
}

// An area is a group of settings that a verb takes as flags. Environment and file may hold all of them for every verb.
type area int

const (
	areaAlways area = iota // logging
	areaStore              // what opens the store
	areaBroker             // what reaches the broker
	areaTrust              // which leaf nodes are believed
	areaRun                // what the worker itself needs
)

// A setting is one line of [settings]. Its key in the file, with dashes, is the flag, and in capitals after IDPSYNC_ the variable.
type setting struct {
	area  area
	key   string
	value string // default
	usage string
	set   func(c *config, text string) error
}

func (s setting) flag() string     { return strings.ReplaceAll(s.key, "_", "-") }
func (s setting) variable() string { return "IDPSYNC_" + strings.ToUpper(s.key) }

// settings is all settings: adding one is a field of config and a line here.
func settings() []setting {
	return []setting{
		{areaAlways, "log_level", "info", "least level that is logged: debug, info, warn or error", oneOf(func(c *config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
		{areaAlways, "log_format", "text", "form of the log: text or json", oneOf(func(c *config) *string { return &c.LogFormat }, "text", "json")},

		{areaStore, "data_dir", "./idpsync-data", "folder of the embedded database and broker", path(func(c *config) *string { return &c.DataDir })},
		{areaStore, "database_url", "", "PostgreSQL in place of the embedded database: postgres://…", databaseURL(func(c *config) *string { return &c.DatabaseURL })},
		{areaStore, "database_url_file", "", "file that holds the database URL, for one with a password; it is read again for each new connection", path(func(c *config) *string { return &c.DatabaseURLFile })},

		{areaStore, "seal_key_file", "", "key that opens sealed passwords and dead letters, the same for all workers; default seal.key in the data directory", path(func(c *config) *string { return &c.SealKeyFile })},

		{areaBroker, "nats_url", "", "NATS servers in place of the embedded broker: nats://host:4222,…", natsURL(func(c *config) *string { return &c.NATSURL })},
		{areaBroker, "nats_user", "", "NATS user, with nats_password_file", text(func(c *config) *string { return &c.NATSUser })},
		{areaBroker, "nats_password_file", "", "file that holds the NATS user's password", path(func(c *config) *string { return &c.NATSPassword })},
		{areaBroker, "nats_creds", "", "NATS credentials file (.creds)", path(func(c *config) *string { return &c.NATSCreds })},
		{areaBroker, "nats_nkey", "", "file of a NATS nkey seed", path(func(c *config) *string { return &c.NATSNKey })},
		{areaBroker, "nats_context", "", "name of a saved context of the nats tool", text(func(c *config) *string { return &c.NATSContext })},
		{areaBroker, "nats_ca", "", "certificate authorities that NATS servers are checked by (PEM file)", path(func(c *config) *string { return &c.NATSCA })},
		{areaBroker, "nats_cert", "", "client certificate for NATS (PEM file)", path(func(c *config) *string { return &c.NATSCert })},
		{areaBroker, "nats_key", "", "private key of nats_cert (PEM file)", path(func(c *config) *string { return &c.NATSKey })},
		{areaBroker, "nats_inbox_prefix", "", "prefix of the subjects for replies, where the broker's permissions ask for one", text(func(c *config) *string { return &c.NATSInbox })},
		{areaBroker, "nats_consumers", "", "names of consumers for reading results and dead letters, where the broker's permissions ask for them; several with commas between them", consumerNames(func(c *config) *[]string { return &c.NATSReaders })},
		{areaBroker, "nats_js_domain", "", "JetStream domain that holds the streams, where it is not that of the NATS server", domainName(func(c *config) *string { return &c.NATSDomain })},
		{areaBroker, "operator", "", "name of the operator in the subjects of orders to replay, as the broker's permissions have it; default that of the system's user", operatorName(func(c *config) *string { return &c.Operator })},
		{areaBroker, "nats_listen", "127.0.0.1:4222", "address of the embedded broker", address(func(c *config) *string { return &c.NATSListen })},

		{areaTrust, "trusted_domains", "", "JetStream domains of leaf nodes that may say when they stored an event of a tenant first: DOMAIN=TENANT, or DOMAIN=* for all tenants; several with commas between them", trustedDomains(func(c *config) *original.Trust { return &c.TrustedDomains })},
		{areaRun, "reply_inboxes", stream.DefaultInbox, "what the reply subject of a request must begin with to be answered; several with commas between them", inboxes(func(c *config) *[]string { return &c.ReplyInboxes })},
		{areaRun, "http_listen", "127.0.0.1:8080", "address of the HTTP API; off for none", address(func(c *config) *string { return &c.HTTPListen })},
		{areaRun, "http_cert", "", "certificate of the HTTP API (PEM file)", path(func(c *config) *string { return &c.HTTPCert })},
		{areaRun, "http_key", "", "private key of http_cert (PEM file)", path(func(c *config) *string { return &c.HTTPKey })},
		{areaRun, "admin_listen", "127.0.0.1:8081", "address of /healthz, /readyz and /metrics; off for none", address(func(c *config) *string { return &c.AdminListen })},
		{areaRun, "worker_name", "", "name of this worker in logs and in-flight markers; default host name and process id", text(func(c *config) *string { return &c.WorkerName })},
		{areaRun, "batch_size", "500", "most events in one transaction", number(func(c *config) *int { return &c.BatchSize }, 1, 5000)},
		{areaRun, "concurrency", "0", "events verified at the same time; 0 for the number of CPUs", number(func(c *config) *int { return &c.Concurrency }, 0, 1024)},
		{areaRun, "max_payload", "1MiB", "largest event that is accepted", size(func(c *config) *int { return &c.MaxPayload }, 1<<10, 64<<20)},
		{areaRun, "result_size", "64KiB", "largest published result that repeats a user's picture when nothing changed; a larger one leaves it out and says so", size(func(c *config) *int { return &c.ResultSize }, 1<<10, 64<<20)},
		{areaRun, "durability", "process", "what acknowledged work survives: process (a crash) or power (loss of power)", oneOf(func(c *config) *string { return &c.Durability }, "process", "power")},
		{areaRun, "wait", "2m", "how long the start waits for a broker, a database and their migration; 0 fails at once", periodOrNone(func(c *config) *time.Duration { return &c.Wait })},
		{areaRun, "drain_timeout", "20s", "longest time that stopping may take", period(func(c *config) *time.Duration { return &c.DrainTimeout })},
		{areaRun, "logins_budget", "1h", "how long a login or command may wait for what is unreachable before it becomes a dead letter", period(func(c *config) *time.Duration { return &c.LoginsBudget })},
		{areaRun, "feeds_budget", "24h", "the same for a feed event", period(func(c *config) *time.Duration { return &c.FeedsBudget })},
		{areaRun, "dead_letter_quota", "10000", "dead letters of one tenant and source that are kept; beyond it, events that proved nothing are answered and listed in summaries", number(func(c *config) *int { return &c.LetterQuota }, 1, 100_000_000)},
		{areaRun, "dead_letter_quota_bytes", "256MiB", "the same in bytes", size(func(c *config) *int { return &c.LetterQuotaBytes }, 1<<20, 1<<40)},
		{areaRun, "durable_passwords", "refuse", "bare passwords in commands that the broker stores: refuse or accept", oneOf(func(c *config) *string { return &c.DurablePasswords }, "refuse", "accept")},
		{areaRun, "weak_password_hashes", "refuse", "imported password hashes that cost less than OWASP asks for: refuse or accept", oneOf(func(c *config) *string { return &c.WeakHashes }, "refuse", "accept")},
	}
}

// A configFault is one setting that cannot be used, and where it came from.
type configFault struct {
	from, message, hint string
	line, column        int // in the file; 0 for what does not come from it
}

func (f configFault) String() string {
	s := f.from + ": " + f.message
	if f.hint != "" {
		s += " (" + f.hint + ")"
	}
	return s
}

// origin is a setting's text and where it stands.
type origin struct {
	text, from   string
	line, column int
}

// addSettings gives a command the flags of the areas that it uses, and --config.
func (a *app) addSettings(cmd *cobra.Command, areas ...area) {
	f := cmd.Flags()
	f.String("config", "", "configuration file (YAML); also IDPSYNC_CONFIG")
	for _, s := range settings() {
		if s.area == areaAlways || slices.Contains(areas, s.area) {
			usage := s.usage
			if s.value != "" {
				usage += fmt.Sprintf(" (default %s)", s.value)
			}
			f.String(s.flag(), "", usage)
		}
	}
}

// config resolves all settings for a command. Its error names every fault at once.
func (a *app) config(cmd *cobra.Command) (config, error) {
	var faults []configFault
	file, fromFile := a.fileSettings(cmd)
	faults = append(faults, fromFile...)
	faults = append(faults, a.unknownVariables()...)

	var c config
	from := map[string]origin{}
	for _, s := range settings() {
		o := origin{text: s.value, from: "default"}
		if v, ok := file[s.key]; ok {
			o = v
		}
		if v, ok := a.environ[s.variable()]; ok && v != "" {
			o = origin{text: v, from: s.variable()}
		}
		if f := cmd.Flags().Lookup(s.flag()); f != nil && f.Changed {
			o = origin{text: f.Value.String(), from: "--" + s.flag()}
		}
		from[s.key] = o
		if o.text == "" {
			continue
		}
		if err := s.set(&c, o.text); err != nil {
			var h *settingError
			errors.As(err, &h)
			faults = append(faults, configFault{o.from, s.key + " " + h.message, h.hint, o.line, o.column})
		}
	}
	faults = append(faults, c.together(from)...)
	slices.SortStableFunc(faults, func(x, y configFault) int {
		return cmp.Or(cmp.Compare(x.line, y.line), cmp.Compare(x.column, y.column))
	})
	if len(faults) > 0 {
		lines := make([]string, len(faults))
		for i, f := range faults {
			lines[i] = "  " + f.String()
		}
		return config{}, kit.Fail(kit.ExitUsage, "fix these and start again; nothing was done", "the configuration cannot be used:\n%s", strings.Join(lines, "\n"))
	}
	return c, nil
}

// fileSettings reads the configuration file, if one is named.
func (a *app) fileSettings(cmd *cobra.Command) (map[string]origin, []configFault) {
	name, from := a.environ["IDPSYNC_CONFIG"], "IDPSYNC_CONFIG"
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		name, from = f.Value.String(), "--config"
	}
	if name == "" {
		return nil, nil
	}
	data, err := strictyaml.ReadFile(name, 1<<20)
	if err != nil {
		return nil, []configFault{{from: from, message: err.Error(), hint: "name a file that can be read"}}
	}
	doc := strictyaml.Parse(name, data)
	root := doc.Root().Mapping()
	values := map[string]origin{}
	for _, s := range settings() {
		v := root.Get(s.key)
		if !v.Present() {
			continue
		}
		line, column := v.Position()
		text := v.Scalar()
		if s.key == "database_url" && urlPassword(text) || s.key == "nats_url" && urlPassword(text) {
			v.Fail("secrets are files: use database_url_file, nats_password_file, nats_creds or nats_nkey", "%s holds a password", s.key)
			continue
		}
		values[s.key] = origin{text, fmt.Sprintf("%s:%d:%d", name, line, column), line, column}
	}
	root.Close()
	var faults []configFault
	var listed strictyaml.Faults
	if errors.As(doc.Err(), &listed) {
		for _, f := range listed {
			faults = append(faults, configFault{fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column), f.Message, f.Hint, f.Line, f.Column})
		}
	}
	return values, faults
}

// unknownVariables finds variables that were meant for us and are not. Those that Kubernetes sets for a service called
// idpsync are not meant for anybody, and those of our tests not for this process.
func (a *app) unknownVariables() []configFault {
	known := []string{"IDPSYNC_CONFIG"}
	for _, s := range settings() {
		known = append(known, s.variable())
	}
	var faults []configFault
	for name := range a.environ {
		if !strings.HasPrefix(name, "IDPSYNC_") || slices.Contains(known, name) {
			continue
		}
		if strings.HasPrefix(name, "IDPSYNC_SERVICE_") || name == "IDPSYNC_PORT" || strings.HasPrefix(name, "IDPSYNC_PORT_") ||
			strings.HasPrefix(name, "IDPSYNC_TEST_") {
			continue
		}
		hint := "unset it; idpsync help run lists the settings"
		if near := strictyaml.Closest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		faults = append(faults, configFault{from: name, message: "there is no such setting", hint: hint})
	}
	slices.SortFunc(faults, func(x, y configFault) int { return strings.Compare(x.from, y.from) })
	return faults
}

// together checks what settings mean for each other, and reads the files that stand for values.
func (c *config) together(from map[string]origin) []configFault {
	var faults []configFault
	bad := func(key, hint, format string, args ...any) {
		o := from[key]
		faults = append(faults, configFault{o.from, fmt.Sprintf(format, args...), hint, o.line, o.column})
	}
	pair := func(cert, certKey, key, keyKey string) {
		if (cert == "") != (key == "") {
			set := certKey
			if cert == "" {
				set = keyKey
			}
			bad(set, "set both or neither", "%s and %s go together", certKey, keyKey)
		}
	}
	pair(c.HTTPCert, "http_cert", c.HTTPKey, "http_key")
	pair(c.NATSCert, "nats_cert", c.NATSKey, "nats_key")
	pair(c.NATSUser, "nats_user", c.NATSPassword, "nats_password_file")
	if c.NATSContext != "" && (c.NATSURL != "" || c.NATSUser != "" || c.NATSCreds != "" || c.NATSNKey != "") {
		bad("nats_context", "use one of the two", "nats_context brings its own URL and credentials; nats_url, nats_user, nats_creds or nats_nkey is set too")
	}
	if c.NATSDomain != "" && c.embedded() {
		bad("nats_js_domain", "set nats_url or nats_context, or leave it out", "nats_js_domain and the embedded broker, which has no domain, do not go together")
	}
	if c.NATSUser != "" && (c.NATSCreds != "" || c.NATSNKey != "") {
		bad("nats_user", "use one of the two", "nats_user is set beside nats_creds or nats_nkey")
	}
	if c.NATSUser != "" && urlUser(c.NATSURL) {
		bad("nats_url", "take the user out of the URL", "nats_url names a user, and nats_user another")
	}
	if c.NATSCreds != "" && c.NATSNKey != "" {
		bad("nats_nkey", "use one of the two", "nats_creds and nats_nkey are both set")
	}
	if c.DatabaseURLFile != "" {
		if c.DatabaseURL != "" {
			bad("database_url_file", "use one of the two", "database_url and database_url_file are both set")
			return faults
		}
		data, err := strictyaml.ReadFile(c.DatabaseURLFile, 64<<10)
		if err != nil {
			bad("database_url_file", "name a file that can be read", "%v", err)
			return faults
		}
		if err := databaseURL(func(c *config) *string { return &c.DatabaseURL })(c, strings.TrimSpace(string(data))); err != nil {
			var h *settingError
			errors.As(err, &h)
			bad("database_url_file", h.hint, "what the file holds %s", h.message)
		}
	}
	return faults
}
