package record_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// TestRoutes writes down what other programs rely on.
func TestRoutes(t *testing.T) {
	want := []string{
		"create login: idpsync.login.*.* in logins",
		"create feed: idpsync.feed.*.* in feeds",
		"create tenant: idpsync.command.*.v1.users.create in logins, v1-users-create on idpsync.rpc.*.v1.users.create, POST /v1/users",
		"create organization: idpsync.command.*.users.create in logins, users-create on idpsync.rpc.*.users.create, POST /users",
	}
	var got []string
	for _, r := range record.Routes() {
		s := fmt.Sprintf("%s %s: %s in %s", r.Action, r.Shape, r.Subject(), r.Lane)
		if r.Endpoint() != "" {
			s += fmt.Sprintf(", %s on %s", r.Endpoint(), r.RequestSubject())
		}
		if r.Path != "" {
			s += fmt.Sprintf(", %s %s", r.Method, r.Path)
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the routes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := record.Routes().Check(); err != nil {
		t.Errorf("the table of routes has the fault %q, want none", err)
	}
	for lane, want := range map[string][]string{
		"":                 {"idpsync.login.>", "idpsync.feed.>", "idpsync.command.>"},
		record.LaneLogins:  {"idpsync.login.>", "idpsync.command.>"},
		record.LaneFeeds:   {"idpsync.feed.>"},
		record.LaneReplays: nil,
	} {
		if got := record.Routes().Filters(lane); !slices.Equal(got, want) {
			t.Errorf("lane %q takes %q, want %q", lane, got, want)
		}
	}
}

// TestRoutesAreACopy: who adds a row to what Routes returned changes nothing for others.
func TestRoutesAreACopy(t *testing.T) {
	record.Routes()[0].Branch = record.BranchFeeds
	if got := record.Routes()[0].Branch; got != record.BranchLogins {
		t.Errorf("after a caller changed its copy, the first route is stored in %q, want %q", got, record.BranchLogins)
	}
}

// TestAnActionIsARow adds an action and finds it wherever routes are used.
func TestAnActionIsARow(t *testing.T) {
	const rename record.Action = "rename"
	row := record.Route{
		Action: rename, Shape: providers.ShapeTenant, Branch: record.BranchCommands, Lane: record.LaneLogins,
		Name: "users.rename", Method: "PATCH", Path: "/v1/users",
	}
	table := append(record.Routes(), row)
	if err := table.Check(); err != nil {
		t.Fatalf("the table with one more action has the fault %q, want none", err)
	}

	for door, want := range map[providers.Door]string{
		providers.DoorStream: "idpsync.command." + lower + ".users.rename",
		providers.DoorRPC:    "idpsync.rpc." + lower + ".users.rename",
	} {
		address := record.Address{Action: rename, Shape: providers.ShapeTenant, Door: door, Tenant: lower, Source: providers.AdminSource}
		subject := table.EventSubject(address)
		if subject != want {
			t.Errorf("the subject of %+v is %q, want %q", address, subject, want)
		}
		if got, err := table.ParseSubject(subject); err != nil || got != address {
			t.Errorf("%s is read as %+v with the error %v, want %+v", subject, got, err, address)
		}
		if got, err := record.ParseSubject(subject); !errors.Is(err, record.ErrSubject) || got.Action != "" {
			t.Errorf("without the row %s is read as action %q with the error %v, want no action and an error of class ErrSubject", subject, got.Action, err)
		}
		// The same document with the other action goes where it always went.
		address.Action = record.ActionCreate
		if got, want := table.EventSubject(address), record.EventSubject(address); got != want {
			t.Errorf("with the row the subject of %+v is %q, want %q as before", address, got, want)
		}
	}

	got, ok := table.Find(rename, providers.ShapeTenant)
	if !ok || got != row {
		t.Errorf("the route of %s is found: %t, as %+v, want %+v", rename, ok, got, row)
	}
	for what, pair := range map[string][2]string{
		"endpoint":             {got.Endpoint(), "users-rename"},
		"subject of requests":  {got.RequestSubject(), "idpsync.rpc.*.users.rename"},
		"HTTP method and path": {got.Method + " " + got.Path, "PATCH /v1/users"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("the %s of the new route is %q, want %q", what, pair[0], pair[1])
		}
	}
	if _, ok := table.Find(rename, providers.ShapeOrganization); ok {
		t.Errorf("%s is found with the organization shape, want it with the tenant shape alone", rename)
	}
	for lane, want := range map[string][]string{"": record.Routes().Filters(""), record.LaneLogins: record.Routes().Filters(record.LaneLogins)} {
		if got := table.Filters(lane); !slices.Equal(got, want) {
			t.Errorf("with the row lane %q takes %q, want %q: no stream has to change for a command", lane, got, want)
		}
	}
	if _, err := table.ParseSubject("idpsync.command." + lower + ".users.delete"); err == nil || !strings.Contains(err.Error(), "v1.users.create, users.create or users.rename") {
		t.Errorf("an unknown command is refused with %v, want a message that lists the new one too", err)
	}
}

// TestTablesThatAreAmbiguous adds rows that must not be there.
func TestTablesThatAreAmbiguous(t *testing.T) {
	good := record.Route{
		Action: "rename", Shape: providers.ShapeTenant, Branch: record.BranchCommands, Lane: record.LaneLogins,
		Name: "users.rename", Method: "POST", Path: "/v1/users/rename",
	}
	for want, change := range map[string]func(*record.Route){
		"the subject":               func(r *record.Route) { r.Name = "users.create" },
		"the endpoint":              func(r *record.Route) { r.Name = "v1-users.create" },
		"the method and path":       func(r *record.Route) { r.Path = "/users" },
		"the action and format":     func(r *record.Route) { r.Action = record.ActionCreate },
		"some have sources":         func(r *record.Route) { r.Name = "" },
		"two lanes":                 func(r *record.Route) { r.Lane = record.LaneFeeds },
		"only one of method and":    func(r *record.Route) { r.Method = "" },
		"lacks its action":          func(r *record.Route) { r.Action = "" },
		"lacks its action, format,": func(r *record.Route) { r.Shape = "" },
	} {
		row := good
		change(&row)
		if err := append(record.Routes(), row).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a table with the row %+v has the fault %v, want one that says %q", row, err, want)
		}
	}
}

func TestBranches(t *testing.T) {
	for subject, want := range map[string]bool{
		"idpsync.command." + lower + ".users.create": true,
		"idpsync.command.":                           true,
		"idpsync.command":                            false,
		"idpsync.commands." + lower:                  false,
		"x.idpsync.command." + lower:                 false,
		"idpsync.login." + lower + ".command":        false,
	} {
		if got := record.BranchCommands.Holds(subject); got != want {
			t.Errorf("%s is a command: %t, want %t", subject, got, want)
		}
	}
	if got := record.BranchResults.All(); got != "idpsync.result.>" {
		t.Errorf("the filter of all results is %q, want idpsync.result.>", got)
	}
	if got := record.BranchResults.Of("a", "*", "c"); got != "idpsync.result.a.*.c" {
		t.Errorf("the subject with three tokens is %q, want idpsync.result.a.*.c", got)
	}
}
