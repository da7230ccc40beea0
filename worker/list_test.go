package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A list without bound makes an answer that the broker does not store, and an event that is never done with.
func TestLongListsAreRefusedByAnAnswerThatFits(t *testing.T) {
	roles := make([]string, 80_000)
	for i := range roles {
		roles[i] = fmt.Sprintf("r%d", i)
	}
	organizations := make([]map[string]string, 20_000)
	for i := range organizations {
		organizations[i] = map[string]string{"organizationId": "", "roleId": ""}
	}
	for name, c := range map[string]struct {
		body  map[string]any
		field string
	}{
		"roles":         {with(tenantUser("many", "oidc"), map[string]any{"roles": roles}), "roles"},
		"a role":        {with(tenantUser("long", "oidc"), map[string]any{"roles": []string{strings.Repeat("r", 300_000)}}), "roles[0]"},
		"organizations": {with(organizationUser("many"), map[string]any{"organizations": organizations}), "organizations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Start()
			header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
			d.PublishWith(workertest.FeedSubject(acme, "workday"), "e1", workertest.Payload(c.body), header)
			r := d.Await("e1")
			if r.Code != record.CodeInvalidInput || fieldsOf(r)[0] != c.field || len(r.Data) > 64<<10 {
				t.Errorf("the list is answered by %.500s of %d bytes, want a fault of %s in at most 64 KiB", r.Data, len(r.Data), c.field)
			}
			d.Settle()
			if n := len(p.Deliveries()); n != 1 {
				t.Errorf("there were %d deliveries, want 1", n)
			}
		})
	}
}

func TestManyRefusedRolesFitIntoADeadLetter(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	roles := make([]string, 200)
	for i := range roles {
		roles[i] = fmt.Sprintf("%d %s", i, strings.Repeat("\u2028", 250))
	}
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
	d.PublishWith(workertest.FeedSubject(acme, "workday"), "e1", workertest.Payload(with(tenantUser("ada", "oidc"), map[string]any{"roles": roles})), header)
	r := d.Await("e1")
	if listed, _ := detail(r, "roles").([]any); r.Code != record.CodeInvalidRoles || len(listed) != len(roles) {
		t.Errorf("%d refused roles are answered by %.500s, want each of them listed", len(roles), r.Data)
	}
	if letters := d.LettersOf("e1"); len(letters) != 1 || letters[0].Code != record.CodeInvalidRoles || len(p.Deliveries()) != 1 {
		t.Errorf("there are the dead letters %+v after %d deliveries, want one with invalid_roles after one", letters, len(p.Deliveries()))
	}
}

func TestManyDroppedRolesFitIntoAResult(t *testing.T) {
	d := workertest.New(t, workertest.Options{Directory: strings.Replace(workertest.Directory, "name: workday, kind: feed,", "name: workday, kind: feed, on_denied_role: drop,", 1)})
	p := d.Start()
	roles := make([]string, 200)
	for i := range roles {
		roles[i] = fmt.Sprintf("%d %s", i, strings.Repeat("\u2028", 250))
	}
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
	d.PublishWith(workertest.FeedSubject(acme, "workday"), "e1", workertest.Payload(with(tenantUser("ada", "oidc"), map[string]any{"roles": roles})), header)
	if r := d.Await("e1"); r.Status != 201 || r.Header.Get(record.HeaderDroppedRoles) == "" {
		t.Errorf("%d dropped roles are answered by %.500s, want 201 and a header that lists them", len(roles), r.Data)
	}
	d.Settle()
	if n := len(p.Deliveries()); n != 1 {
		t.Errorf("there were %d deliveries, want 1", n)
	}
}
