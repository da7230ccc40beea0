package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/worker/record"
)

// paint colours a text where colours are shown.
func (m *Demo) paint(code, s string) string {
	if !m.o.Colours {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (m *Demo) intro() {
	address := func(a string) string {
		if a == "" {
			return "off"
		}
		return "http://" + a
	}
	fmt.Fprintf(m.o.Out, `idpsync dev: the whole way from an event to a user

  tenant            acme (%s)
  OpenID provider   %s, in this process; it signs real ID tokens
  SAML provider     %s, in this process; it signs real responses
  broker            %s
  HTTP API          %s
  metrics, health   %s
  data              %s

Each sample says who comes in and how; the line below it, what became of it and why.
`, tenant, m.issuer.URL(), idpEntity, m.worker.Server.URL(), address(m.http), address(m.metric), m.folder)
}

// heading begins a scene.
func (m *Demo) heading(s scene) {
	fmt.Fprintf(m.o.Out, "\n%s\n%s\n\n", m.paint("1", s.heading), s.about)
}

// show prints a sample with what became of it.
func (m *Demo) show(n int, s sample, r kit.Result, fault string) {
	mark, colour := r.Mark()
	why := []string{person(r.User)}
	if r.Outcome == string(record.OutcomeRejected) {
		why = reasons(r)
	}
	fmt.Fprintf(m.o.Out, "%3d. %s %s\n", n, s.title, m.paint("2", "["+s.id+"]"))
	fmt.Fprintf(m.o.Out, "     %s  %s\n", m.paint(colour, fmt.Sprintf("%s %s %s", mark, r.Status, verdict(r))), kit.Printable(why[0]))
	for _, line := range why[1:] {
		fmt.Fprintf(m.o.Out, "           %s\n", kit.Printable(line))
	}
	if fault != "" {
		fmt.Fprintf(m.o.Out, "     %s\n", m.paint("1;31", fault))
	}
}

// person says who a result is about.
func person(u kit.User) string {
	parts := []string{u.FullName(), u.Email}
	if len(u.Roles) > 0 {
		parts = append(parts, "roles "+strings.Join(u.Roles, ", "))
	}
	if n := len(u.Organizations); n > 0 {
		parts = append(parts, "a role in "+kit.Count(n, "organization"))
	}
	if u.IsOwner {
		parts = append(parts, "owner of the tenant")
	}
	return strings.Join(parts, " · ")
}

// reasons says why a result is a rejection: the message, each faulty field, the notices of policies.
func reasons(r kit.Result) []string {
	lines := []string{r.Fault.Message}
	if fields, ok := r.Fault.Details["fields"].([]any); ok {
		for _, f := range fields {
			if f, ok := f.(map[string]any); ok {
				lines = append(lines, fmt.Sprintf("%v: %v", f["field"], f["message"]))
			}
		}
	}
	if list, ok := r.Fault.Details["organizations"].([]any); ok {
		for _, o := range list {
			if o, ok := o.(map[string]any); ok {
				lines = append(lines, fmt.Sprintf("%v: organization %v, role %v", o["field"], o["organizationId"], o["roleId"]))
			}
		}
	}
	for _, n := range r.Fault.Notices {
		lines = append(lines, fmt.Sprintf("policy %s: %q", r.Policies, n))
	}
	return lines
}

func (m *Demo) summary(n, failed int) {
	text := fmt.Sprintf("%d samples, %d as announced, %d not", n, n-failed, failed)
	if failed > 0 {
		text = m.paint("1;31", text)
	}
	fmt.Fprintf(m.o.Out, "\n%s\n", text)
}

// writeSamples writes the files that the lines to try by hand name.
func (m *Demo) writeSamples() error {
	day := m.o.Now().Add(24 * time.Hour)
	jwt, err := m.issuer.Sign(m.person("grace", "Grace Hopper", map[string]any{"exp": day.Unix()}))
	if err != nil {
		return err
	}
	login := m.assertion("victor", "Victor Lang", idp.SignBoth)
	login.Validity = 24 * time.Hour
	xml, err := m.idp.Respond(login)
	if err != nil {
		return err
	}
	password, err := seal.Text(m.worker.Key.KeyID(), []byte(localPassword))
	if err != nil {
		return err
	}
	files := map[string][]byte{"grace.jwt": []byte(jwt), "victor.xml": xml}
	for name, body := range map[string]map[string]any{
		"wanda.json": employee("Wanda Novak", nil), "xenia.json": employee("Xenia Roth", nil), "zoe.json": member("Zoe Martin", nil),
		"yuki.json":  employee("Yuki Mori", map[string]any{"password": password}),
		"anton.json": employee("Anton Berg", map[string]any{"password": nil, "auth_provider": "oidc"}),
		"carl.json":  employee("Carl Contractor", map[string]any{"email": "carl@contractor.example"}),
		"bruno.json": employee("Bruno Silva", nil),
	} {
		content, err := encoded(body)()
		if err != nil {
			return err
		}
		files[name] = append(content, '\n')
	}
	return m.write(files)
}

// A hint is a line to try by hand.
type hint struct{ what, line string }

// hints lists the lines to try by hand, in groups, with the ports and folders of this run.
func (m *Demo) hints() [][]hint {
	me, data := startedAs(), " --data-dir "+quoted(m.folder)
	file := func(name string) string { return quoted(m.file(name)) }
	to := " --tenant " + tenant + data
	admin := " --token-file " + file("admin.token")
	all := [][]hint{
		{
			{"who is there", me + " get users --tenant acme" + data},
			{"what had an effect", me + " get events --tenant acme" + data},
			{"what could not be processed", me + " dlq list" + data},
			{"step by step, why", me + " explain --dead-letter 1" + data},
		},
		{
			{"a login with OIDC", me + " send login" + to + " --source okta --wait " + file("grace.jwt")},
			{"a login with SAML", me + " send login" + to + " --source adfs --request-id " + requestID + " --wait " + file("victor.xml")},
			{"a request", me + " send command" + to + admin + " --via rpc " + file("xenia.json")},
			{"a durable command, its password sealed", me + " send command" + to + admin + " --wait " + file("yuki.json")},
			{"seal a password yourself", "printf 'a long password' | " + me + " seal" + data},
			{"an HR event", me + " send feed" + to + " --source workday --token-file " + file("workday.token") + " --wait " + file("anton.json")},
		},
	}
	if m.http != "" {
		all = append(all, []hint{
			{"POST /v1/users", m.curl(providers.ShapeTenant, "wanda.json")},
			{"POST /users", m.curl(providers.ShapeOrganization, "zoe.json")},
			{"what the policy forbids", m.curl(providers.ShapeTenant, "carl.json")},
		})
	}
	broker := "nats --server " + m.worker.Server.URL()
	headers := ` -H "Authorization: Bearer $(cat ` + file("admin.token") + `)" -H X-Tenant-ID:` + tenant
	all = append(all, []hint{
		{"the workers, with the plain nats client", broker + " micro ls"},
		{"a login", broker + " pub " + record.EventSubject(loginAt("okta")) + ` "{\"id_token\": \"$(cat ` + file("grace.jwt") + `)\"}"`},
		{"a request", broker + " req " + record.EventSubject(commandTo(providers.DoorRPC, providers.ShapeTenant)) + headers + ` "$(cat ` + file("bruno.json") + `)"`},
		{"results as they come", broker + " sub '" + record.BranchResults.All() + "'"},
	}, []hint{
		{"change the policy or the directory, then", me + " apply -f " + file("directory.yaml") + data},
	})
	if m.metric != "" {
		last := &all[len(all)-1]
		*last = append(*last, hint{"counters", "curl -s http://" + m.metric + "/metrics"})
	}
	return all
}

func (m *Demo) curl(shape providers.Shape, name string) string {
	return `curl -si http://` + m.http + httpPath(shape) + ` -H "Authorization: Bearer $(cat ` + quoted(m.file("admin.token")) + `)" -H 'X-Tenant-ID: ` + tenant +
		`' -H 'Content-Type: application/json' -d @` + quoted(m.file(name))
}

// outro prints the lines to try by hand.
func (m *Demo) outro() {
	where := ""
	if strings.HasPrefix(startedAs(), "go run") {
		where = " in this folder"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, in another terminal%s. The files that they name are yours to change.\n", m.paint("1", "Lines to try by hand"), where)
	for _, group := range m.hints() {
		b.WriteString("\n")
		for _, h := range group {
			fmt.Fprintf(&b, "  %s\n", m.paint("2", "# "+h.what))
			fmt.Fprintf(&b, "  %s\n", h.line)
		}
	}
	b.WriteString("\nEvery further event appears below. Ctrl-C ends the demo.\n\n")
	fmt.Fprint(m.o.Out, b.String())
}
