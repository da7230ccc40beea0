package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/providers/wire"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// maxSent bounds what is sent, in bytes.
const maxSent = kit.MaxSent

func newSendCommand(a *app) *cobra.Command {
	return group("send", "Send a login, a command or a feed event", newSendLoginCommand(a), newSendUserCommand(a, "command"), newSendUserCommand(a, "feed"))
}

// A sending is one event on its way out.
type sending struct {
	app     *app
	tenant  string
	source  string
	id      string
	token   string // path
	via     string
	url     string
	wait    time.Duration
	json    bool
	nonce   string
	request string

	door    door
	subject string
	header  providers.Header
	body    []byte
	shape   providers.Shape
}

// sent is what is known of an event once it was sent, and once it was answered.
type sent struct {
	EventID  string          `json:"event_id"`
	Subject  string          `json:"subject,omitempty"`
	Sequence uint64          `json:"sequence,omitempty"`
	Status   string          `json:"status,omitempty"`
	Outcome  string          `json:"outcome,omitempty"`
	Body     json.RawMessage `json:"body,omitempty"`
}

func (s *sending) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.tenant, "tenant", "", "id of the tenant (UUID)")
	f.StringVar(&s.id, "id", "", "event id; default a new one")
	f.DurationVar(&s.wait, "wait", 0, "wait so long for the result and print it")
	f.Lookup("wait").NoOptDefVal = "30s"
	jsonFlag(cmd, &s.json)
	s.app.addSettings(cmd, areaBroker, areaStore)
}

func newSendLoginCommand(a *app) *cobra.Command {
	s := &sending{app: a, via: "stream"}
	cmd := &cobra.Command{
		Use:   "login FILE",
		Short: "Publish a login: an ID token, or a SAML response",
		Long: `Publish a login event. FILE, or standard input for -, holds an ID token, a SAML response as XML or in base64, or a
whole event in JSON; which of them is seen from its first characters.`,
		Example: `  idpsync send login --tenant 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0 --source okta --wait token.jwt`,
		Args:    oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.readInput(args[0])
			if err != nil {
				return err
			}
			if s.body, err = loginEvent(data, s.nonce, s.request); err != nil {
				return err
			}
			s.shape = providers.ShapeLogin
			return s.run(cmd)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.source, "source", "", "name of the source")
	cmd.Flags().StringVar(&s.nonce, "nonce", "", "nonce that the ID token must carry")
	cmd.Flags().StringVar(&s.request, "request-id", "", "ID of the AuthnRequest that the SAML response answers")
	return cmd
}

// loginEvent makes the event of a login of what a browser or a client brought.
func loginEvent(data []byte, nonce, request string) ([]byte, error) {
	data = bytes.TrimSpace(data)
	event := map[string]string{}
	switch {
	case len(data) == 0:
		return nil, kit.Fail(kit.ExitUsage, "name the file of an ID token or a SAML response", "there is nothing to send")
	case data[0] == '{':
		if nonce != "" || request != "" {
			return nil, kit.Fail(kit.ExitUsage, "put them into the event", "--nonce and --request-id do not go with a whole event")
		}
		return data, nil
	case data[0] == '<':
		event["saml_response"] = base64.StdEncoding.EncodeToString(data)
	case bytes.Count(data, []byte(".")) == 2:
		event["id_token"] = string(data)
	default:
		event["saml_response"] = string(bytes.Join(bytes.Fields(data), nil))
	}
	if _, ok := event["id_token"]; ok != (nonce != "") && nonce != "" || ok && request != "" {
		return nil, kit.Fail(kit.ExitUsage, "--nonce goes with an ID token, --request-id with a SAML response", "a flag does not go with this login")
	}
	if nonce != "" {
		event["nonce"] = nonce
	}
	if request != "" {
		event["request_id"] = request
	}
	return json.Marshal(event)
}

func newSendUserCommand(a *app, kind string) *cobra.Command {
	s := &sending{app: a, via: "stream"}
	cmd := &cobra.Command{
		Use:   kind + " FILE",
		Short: "Send an admin command: the body of POST /v1/users or POST /users",
		Long: `Send an admin command. FILE, or standard input for -, holds the body of POST /v1/users or of POST /users; which of
them is seen from its members. The file of --token-file holds what idpsync credential create printed.`,
		Example: `  idpsync send command --tenant 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0 --token-file admin.token --via http user.json`,
		Args:    oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.token == "" {
				return kit.Fail(kit.ExitUsage, "idpsync credential create makes a token", "--token-file is missing")
			}
			if args[0] == "-" && s.token == "-" {
				return kit.Fail(kit.ExitUsage, "name a file for one of them", "standard input cannot hold both the token and the body")
			}
			var err error
			if s.body, err = a.readInput(args[0]); err != nil {
				return err
			}
			s.shape = providers.ShapeFeed
			if kind == "command" {
				s.shape = shapeOf(s.body)
			}
			return s.run(cmd)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.token, "token-file", "", "file that holds the credential's token; - for standard input")
	if kind == "feed" {
		cmd.Short = "Publish an HR event: a user in the format of its source"
		cmd.Long = `Publish an event of an HR feed. FILE, or standard input for -, holds a user in the format that the source declares. The
file of --token-file holds what idpsync credential create printed.`
		cmd.Example = `  idpsync send feed --tenant 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0 --source workday --token-file feed.token user.json`
		cmd.Flags().StringVar(&s.source, "source", "", "name of the source")
		return cmd
	}
	cmd.Flags().StringVar(&s.via, "via", "stream", "way of sending: stream (durable), rpc or http")
	cmd.Flags().StringVar(&s.url, "http-url", "http://127.0.0.1:8080", "address of the HTTP API, for --via http")
	return cmd
}

// shapeOf tells the two bodies of the API apart. What is neither is sent as the tenant shape, for the worker to say what
// is wrong with it.
func shapeOf(body []byte) providers.Shape {
	shape, err := wire.UserShape(body, wire.Limits{Size: maxSent})
	if err != nil {
		return providers.ShapeTenant
	}
	return shape
}

// run sends the event by the chosen way and prints what became of it.
func (s *sending) run(cmd *cobra.Command) error {
	c, err := s.app.config(cmd)
	if err != nil {
		return err
	}
	if err := s.address(); err != nil {
		return err
	}
	if s.door == doorStream && c.DurablePasswords != "accept" && holdsPassword(s.body) {
		return kit.Fail(kit.ExitUsage, "put what idpsync seal prints in its place, or send the command with --via rpc or --via http",
			"the broker would store the password of this event in the clear; nothing was sent")
	}
	if s.token != "" {
		token, err := s.app.readInput(s.token)
		if err != nil {
			return err
		}
		s.header["Authorization"] = []string{"Bearer " + strings.TrimSpace(string(token))}
		s.header[providers.HeaderTenant] = []string{s.tenant}
	}
	s.header["Content-Type"] = []string{"application/json"}
	s.header[record.HeaderEventID] = []string{s.id}
	out := sent{EventID: s.id, Subject: s.subject}
	switch s.door {
	case doorHTTP:
		out.Subject = ""
		err = s.post(cmd.Context(), &out)
	case doorRPC:
		err = s.call(cmd.Context(), c, &out)
	default:
		err = s.publish(cmd.Context(), c, &out)
	}
	if err != nil {
		return err
	}
	return s.print(out)
}

// holdsPassword reports whether a body has a password in the clear, also when a worker could not read it. Such a body must
// not reach the broker's disk only to be refused.
func holdsPassword(body []byte) bool {
	var u struct {
		Password string `json:"password"`
	}
	if err := wire.DecodeOpen(body, &u, wire.Limits{Size: maxSent, Depth: wire.DefaultLimits.Depth}); err != nil {
		return bytes.Contains(body, []byte(`"password"`))
	}
	return u.Password != "" && !strings.HasPrefix(u.Password, seal.Prefix)
}

// oneFile takes the one argument of the verbs that send.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) == 2 {
		if _, err := time.ParseDuration(args[0]); err == nil && cmd.Flags().Changed("wait") {
			return kit.Fail(kit.ExitUsage, "write --wait="+args[0], "the duration of --wait stands after =")
		}
	}
	return cobra.ExactArgs(1)(cmd, args)
}

// A door is a way of sending.
type door int

const (
	doorStream door = iota
	doorRPC
	doorHTTP
)

// address finds door and subject, and names the event.
func (s *sending) address() error {
	tenant, ok := providers.ParseUUID(s.tenant)
	if !ok {
		return kit.Fail(kit.ExitUsage, "idpsync get tenants lists the ids", "--tenant %q is not the id of a tenant", s.tenant)
	}
	s.tenant = tenant
	a := record.Address{Action: record.ActionCreate, Shape: s.shape, Tenant: tenant, Source: s.source, Door: providers.DoorStream}
	switch s.via {
	case "stream":
	case "rpc":
		s.door, a.Door = doorRPC, providers.DoorRPC
	case "http":
		s.door = doorHTTP
	default:
		return kit.Fail(kit.ExitUsage, "one of stream, rpc, http", "--via cannot be %q", s.via)
	}
	if s.subject = record.EventSubject(a); s.subject == "" {
		return kit.Fail(kit.ExitUsage, "idpsync get sources lists them", "--source %q is not the name of a source", s.source)
	}
	if s.id == "" {
		id, err := uuid.NewV7FromReader(s.app.random)
		if err != nil {
			return kit.Fail(kit.ExitFailure, "", "no event id can be made: %w", err)
		}
		s.id = id.String()
	}
	s.header = providers.Header{}
	return nil
}

// publish stores the event, and with --wait waits for its result.
func (s *sending) publish(ctx context.Context, c config, out *sent) error {
	conn, err := s.app.connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	since := s.app.now().Add(-time.Minute) // the two clocks may differ
	sequence, err := stream.PublishEvent(ctx, conn, record.Outgoing{Subject: s.subject, Header: s.header, Data: s.body})
	if err != nil {
		return kit.Fail(kit.ExitFailure, "the event was not stored; run idpsync migrate if the streams do not exist", "%w", err)
	}
	out.Sequence = sequence
	if s.wait <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	source := s.source
	if source == "" {
		source = providers.AdminSource
	}
	for m, err := range stream.Tail(ctx, conn, stream.Filter{Tenant: s.tenant, Source: source, Since: since}) {
		if err != nil {
			return kit.Fail(kit.ExitFailure, "the event is stored; idpsync tail shows results as they come", "%w", err)
		}
		r, err := record.ReadResult(m)
		if err == nil && r.Event.EventID == s.id && s.mayHaveSent(r.Credential) { // what cannot be read is no worker's
			out.answered(r.Reply, r.Body)
			return nil
		}
	}
	return kit.Fail(kit.ExitPending, "the event is stored as sequence "+fmt.Sprint(sequence)+"; idpsync tail shows results as they come", "no result within %v", s.wait)
}

// mayHaveSent reports whether a result that names this credential, or none, can be that of the event: other senders may
// use the same event id.
func (s *sending) mayHaveSent(credential string) bool {
	token := strings.TrimPrefix(s.header.Get(providers.HeaderAuthorization), "Bearer ")
	id, _, err := providers.ParseToken(token)
	return credential == "" || err == nil && credential == id
}

// call sends the command by request-reply.
func (s *sending) call(ctx context.Context, c config, out *sent) error {
	conn, err := s.app.connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	header, data, err := stream.Call(ctx, conn, stream.Request{Subject: s.subject, Header: s.header, Data: s.body})
	if err != nil {
		return kit.Fail(kit.ExitFailure, "send it again under the same id, --id "+s.id, "%w", err)
	}
	out.answered(record.ReadReply(header), data)
	return nil
}

// patience is how long to wait for an answer that is a part of sending.
func (s *sending) patience() time.Duration {
	if s.wait > 0 {
		return s.wait
	}
	return 30 * time.Second
}

func (o *sent) answered(r record.Reply, body []byte) {
	o.Outcome = string(r.Outcome)
	if r.Status > 0 {
		o.Status = strconv.Itoa(r.Status)
	}
	if json.Valid(body) {
		o.Body = body
	}
}

// print shows what became of the event. An error object makes the verb fail, after it was printed.
func (s *sending) print(o sent) error {
	if s.json {
		if err := printJSON(s.app.stdout, o); err != nil {
			return err
		}
	} else if o.Status == "" {
		fmt.Fprintf(s.app.stdout, "stored as sequence %d on %s, event id %s\n", o.Sequence, o.Subject, o.EventID)
	} else {
		fmt.Fprintf(s.app.stderr, "%s %s, event id %s\n", o.Status, o.Outcome, o.EventID)
		if err := printJSON(s.app.stdout, o.Body); err != nil {
			return err
		}
	}
	if o.Status >= "400" {
		return silentError{kit.ExitFailure}
	}
	return nil
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	if name != "-" {
		data, err := strictyaml.ReadFile(name, maxSent)
		if err != nil {
			return nil, kit.Fail(kit.ExitUsage, "name a file that can be read, or - for standard input", "%w", err)
		}
		return data, nil
	}
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		fmt.Fprintln(a.stderr, "reading from the terminal, until end of file")
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, maxSent))
	if err != nil {
		return nil, kit.Fail(kit.ExitFailure, "", "standard input cannot be read: %w", err)
	}
	return data, nil
}
