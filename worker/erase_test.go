package worker_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// holders returns the files below a folder that hold a text.
func holders(t *testing.T, folder, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if os.IsNotExist(err) {
				return nil // the broker removed it meanwhile
			}
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // the test's own folder
		if os.IsNotExist(err) {
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSecretsLeaveTheBrokersFilesOnceTheirEventIsDecided searches the broker's files for passwords and tokens, while an older
// event of the other lane waits in the same file.
func TestSecretsLeaveTheBrokersFilesOnceTheirEventIsDecided(t *testing.T) {
	command := "idpsync.command." + acme + ".v1.users.create"
	const password = "Trombone7919Giraffe"
	clear := `{"email":"%s@acme.example","name":"X","auth_provider":"local","password":"` + password + `"}`
	plain := `{"email":"%s@acme.example","name":"X","auth_provider":"oidc"}`
	for name, test := range map[string]struct {
		subject, body string
		accept        bool // passwords in the clear
		status        int
		code          record.Code
	}{
		"a created user":              {command, plain, false, 201, ""},
		"a refused password":          {command, clear, false, 400, record.CodeInvalidInput},
		"an accepted password":        {command, clear, true, 201, ""},
		"a body that cannot be read":  {command, strings.TrimSuffix(clear, "}"), false, 400, record.CodeMalformed},
		"a subject of no command":     {command + ".x", clear, false, 400, record.CodeMalformed},
		"a feed with a password":      {workertest.FeedSubject(acme, "workday"), clear, false, 400, record.CodeInvalidInput},
		"a feed that cannot be read":  {workertest.FeedSubject(acme, "workday"), strings.TrimSuffix(clear, "}"), false, 400, record.CodeMalformed},
		"a login with a password":     {okta, clear, false, 400, record.CodeMalformed},
		"a command of another tenant": {strings.Replace(command, acme, globex, 1), plain, false, 403, record.CodeTenantMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			waiting, older := record.LaneFeeds, workertest.FeedSubject(acme, "workday")
			if strings.HasPrefix(test.subject, "idpsync.feed.") {
				waiting, older = record.LaneLogins, okta
			}
			if err := stream.Pause(d.Ctx, d.Conn, waiting, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			d.Publish(older, "older", []byte(`{"marker":"Xylophone104729Okapi"}`))
			token := d.Credential(acme, "user")
			h := providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}
			d.PublishWith(test.subject, "e1", []byte(fmt.Sprintf(strings.TrimSuffix(test.body, "\n"), "ada")), h)
			d.Publish(older, "newer", []byte(`{"marker":"Xylophone104729Okapi"}`))
			d.Start(func(c *worker.Config) { c.DurablePasswords = test.accept })
			if r := d.Results.Await(1, "of the event", func(workertest.Record) bool { return true })[0]; r.Status != test.status || r.Code != test.code {
				t.Fatalf("the result is %d %s, want %d %s: %s", r.Status, r.Code, test.status, test.code, r.Data)
			}
			secrets := []string{token}
			if strings.Contains(test.body, password) {
				secrets = append(secrets, password)
			}
			if strings.HasPrefix(test.subject, "idpsync.feed.") || test.subject == okta {
				secrets = []string{password}
			}
			for _, secret := range secrets {
				what := "password"
				if secret == token {
					what = "token"
				}
				d.Eventually("for the "+what+" to be gone from the broker's files", func() bool { return len(holders(t, d.Folder(), secret)) == 0 })
			}
			if files := holders(t, d.Folder(), "Xylophone104729Okapi"); len(files) == 0 {
				t.Error("the search does not find the events that wait")
			}
			d.Eventually("for the delivery to be ended", func() bool {
				for _, l := range d.State().Lanes {
					if l.AckPending > 0 || l.Lane != waiting && l.Pending > 0 {
						return false
					}
				}
				return d.State().Stranded == 0
			})
			if n := len(d.Results.All()); n != 1 {
				t.Errorf("there are %d results of the event, want 1", n)
			}
		})
	}
}

// A durable command is parked while the issuer of its JWT is away: its token must leave the broker's files all the same.
func TestSecretsOfParkedCommandsLeaveTheBrokersFiles(t *testing.T) {
	t.Parallel()
	directory := strings.Replace(workertest.Directory, "        issuer: SECOND\n", "        issuer: SECOND\n        commands: true\n        commands_claim: idpsync_commands\n", 1)
	d := workertest.New(t, workertest.Options{Directory: directory})
	d.Second.SetDown(true)
	if err := stream.Pause(d.Ctx, d.Conn, record.LaneFeeds, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	older := workertest.FeedSubject(acme, "workday")
	d.Publish(older, "older", []byte(`{"marker":"older"}`))
	token, err := d.Second.Sign(d.PersonAt(d.Second, "ann").With(workertest.Claims{"idpsync_commands": true}))
	if err != nil {
		t.Fatal(err)
	}
	h := providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}
	d.PublishWith("idpsync.command."+acme+".v1.users.create", "e1", []byte(`{"email":"ada@acme.example","name":"X","auth_provider":"oidc"}`), h)
	d.Publish(older, "newer", []byte(`{"marker":"older"}`))
	d.Start()
	d.Eventually("for the command to be parked", func() bool { return d.Counts().Parked == 1 })
	d.Eventually("for the delivery to be ended", func() bool {
		for _, l := range d.State().Lanes {
			if l.Lane == record.LaneLogins && (l.AckPending > 0 || l.Pending > 0) {
				return false
			}
		}
		return true
	})
	d.Eventually("for the token to leave the broker's files", func() bool { return len(holders(t, d.Folder(), token)) == 0 })
}
