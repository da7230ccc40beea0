package record_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	upper = "2489E9AD-2EE2-8E00-8EC9-32D5F69181C0"
	lower = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
)

func TestParseSubject(t *testing.T) {
	login := record.Address{Action: record.ActionCreate, Shape: providers.ShapeLogin, Door: providers.DoorStream, Tenant: lower, Source: "okta"}
	for subject, want := range map[string]record.Address{
		"idpsync.login." + upper + ".okta":                      login,
		"idpsync.login." + lower + ".okta":                      login,
		"idpsync.feed." + upper + ".work-day1":                  {Action: record.ActionCreate, Shape: providers.ShapeFeed, Door: providers.DoorStream, Tenant: lower, Source: "work-day1"},
		"idpsync.command." + upper + ".v1.users.create":         {Action: record.ActionCreate, Shape: providers.ShapeTenant, Door: providers.DoorStream, Tenant: lower, Source: "admin"},
		"idpsync.command." + upper + ".users.create":            {Action: record.ActionCreate, Shape: providers.ShapeOrganization, Door: providers.DoorStream, Tenant: lower, Source: "admin"},
		"idpsync.rpc." + upper + ".v1.users.create":             {Action: record.ActionCreate, Shape: providers.ShapeTenant, Door: providers.DoorRPC, Tenant: lower, Source: "admin"},
		"idpsync.rpc." + upper + ".users.create":                {Action: record.ActionCreate, Shape: providers.ShapeOrganization, Door: providers.DoorRPC, Tenant: lower, Source: "admin"},
		"idpsync.feed." + lower + "." + strings.Repeat("a", 63): {Action: record.ActionCreate, Shape: providers.ShapeFeed, Door: providers.DoorStream, Tenant: lower, Source: strings.Repeat("a", 63)},
	} {
		got, err := record.ParseSubject(subject)
		if err != nil || got != want {
			t.Errorf("%s is read as %+v with the error %v, want %+v", subject, got, err, want)
		}
		back := record.EventSubject(got)
		if again, err := record.ParseSubject(back); err != nil || again != want {
			t.Errorf("%s is written again as %s, which is read as %+v with the error %v, want %+v", subject, back, again, err, want)
		}
	}
}

// What can be read of a wrong subject is read, so that its dead letter lies where its tenant looks for it.
func TestParseSubjectOfWhatItIsNot(t *testing.T) {
	for subject, want := range map[string]struct{ tenant, source, text string }{
		"":                                    {"", "", "begin with idpsync"},
		"idpsync":                             {"", "", "begin with idpsync"},
		"other.login." + lower + ".okta":      {"", "", "begin with idpsync"},
		"idpsync.result." + lower + ".okta.x": {"", "", "none of login, feed, command and rpc"},
		"idpsync.login":                       {"", "", "no tenant"},
		"idpsync.login." + lower:              {lower, "", "no source"},
		"idpsync.login." + lower + ".okta.x":  {lower, "okta", "after the source"},
		"idpsync.login." + lower + ".Okta":    {lower, "", "a-z"},
		"idpsync.login." + lower + ".":        {lower, "", "a-z"},
		"idpsync.login." + lower + ".ok_ta":   {lower, "", "a-z"},
		"idpsync.login." + lower + "." + strings.Repeat("a", 64):      {lower, "", "a-z"},
		"idpsync.login.urn:uuid:" + lower + ".okta":                   {"", "okta", "not a UUID"},
		"idpsync.login.{" + lower + "}.okta":                          {"", "okta", "not a UUID"},
		"idpsync.login." + strings.ReplaceAll(lower, "-", "") + ".a":  {"", "a", "not a UUID"},
		"idpsync.login." + strings.Replace(lower, "-", "0", 1) + ".a": {"", "a", "not a UUID"},
		"idpsync.login." + strings.Replace(lower, "2", "g", 1) + ".a": {"", "a", "not a UUID"},
		"idpsync.command." + lower + ".v2.users.create":               {lower, "admin", "must end with v1.users.create or users.create"},
		"idpsync.command." + lower + ".users.create.now":              {lower, "admin", "users.create"},
		"idpsync.rpc." + lower:                                        {lower, "admin", "users.create"},
		"idpsync.rpc.x.users.create":                                  {"", "admin", "not a UUID"},
	} {
		got, err := record.ParseSubject(subject)
		if !errors.Is(err, record.ErrSubject) || !strings.Contains(err.Error(), want.text) || got.Tenant != want.tenant || got.Source != want.source {
			t.Errorf("%q is read as %+v with the error %v, want tenant %q, source %q and an error that says %q", subject, got, err, want.tenant, want.source, want.text)
		}
	}
}

func TestSubjectsOfWhatIsWritten(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{record.ResultSubject(upper, "okta", record.OutcomeCreated), "idpsync.result." + lower + ".okta.created"},
		{record.ResultSubject("x", "", "no outcome"), "idpsync.result._._._"},
		{record.DeadLetterSubject(upper, "hr", record.CodeEventIDConflict), "idpsync.deadletter." + lower + ".hr.event_id_conflict"},
		{record.DeadLetterSubject("*", ">", "a.b"), "idpsync.deadletter._._._"},
		{record.ReplaySubject(upper, "alice"), "idpsync.replay." + lower + ".alice"},
		{record.EventSubject(record.Address{Shape: providers.ShapeLogin, Tenant: lower, Source: "Okta"}), ""},
		{record.EventSubject(record.Address{Shape: providers.ShapeLogin, Tenant: "x", Source: "okta"}), ""},
		{record.EventSubject(record.Address{Shape: providers.ShapeLogin, Door: providers.DoorRPC, Tenant: lower, Source: "okta"}), ""},
		{record.EventSubject(record.Address{Tenant: lower, Source: "okta"}), ""},
	} {
		if test.got != test.want {
			t.Errorf("the subject is %q, want %q", test.got, test.want)
		}
	}
}

// A subject that is accepted survives being written again, and never makes a token of more than one.
func FuzzParseSubject(f *testing.F) {
	f.Add("idpsync.login." + upper + ".okta")
	f.Add("idpsync.rpc." + lower + ".v1.users.create")
	f.Fuzz(func(t *testing.T, subject string) {
		a, err := record.ParseSubject(subject)
		for _, s := range []string{record.ResultSubject(a.Tenant, a.Source, "created"), record.DeadLetterSubject(a.Tenant, a.Source, "malformed")} {
			if strings.Count(s, ".") != 4 || strings.ContainsAny(s, " *>\r\n") {
				t.Fatalf("%q becomes the subject %q, want five words without wildcards", subject, s)
			}
		}
		if err != nil {
			return
		}
		if again, err := record.ParseSubject(record.EventSubject(a)); err != nil || again != a {
			t.Fatalf("%q is read as %+v, and its subject as %+v with the error %v, want the same", subject, a, again, err)
		}
	})
}

func TestParseReplaySubject(t *testing.T) {
	const tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	for subject, want := range map[string][2]string{
		"idpsync.replay." + tenant + ".alice":                      {tenant, "alice"},
		"idpsync.replay." + strings.ToUpper(tenant) + ".ops-2":     {tenant, "ops-2"},
		"idpsync.replay." + tenant:                                 {tenant, ""},
		"idpsync.replay._.alice":                                   {"", "alice"},
		"idpsync.replay." + tenant + "." + strings.Repeat("a", 63): {tenant, strings.Repeat("a", 63)},
	} {
		if gotTenant, gotOperator, err := record.ParseReplaySubject(subject); err != nil || gotTenant != want[0] || gotOperator != want[1] {
			t.Errorf("%s is read as %q and %q with the error %v, want %q and %q", subject, gotTenant, gotOperator, err, want[0], want[1])
		}
	}
	for _, subject := range []string{
		"idpsync.replay", "idpsync.replay.acme.alice", "idpsync.replay." + tenant + ".Alice", "idpsync.replay." + tenant + ".", "idpsync.replay." + tenant + ".a.b",
		"idpsync.replay." + tenant + "." + strings.Repeat("a", 64), "idpsync.replay." + tenant + ".a b", "idpsync.result." + tenant + ".alice",
	} {
		if _, _, err := record.ParseReplaySubject(subject); !errors.Is(err, record.ErrSubject) {
			t.Errorf("%s is read with the error %v, want one of class ErrSubject", subject, err)
		}
	}
}
