package policy_test

import (
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker/policy"
)

func TestForbidsOfCreateUserAloneAreWarnedOf(t *testing.T) {
	const repeat, link = "repeat logins", "LinkUser"
	for name, c := range map[string]struct {
		text string
		want []string // in the message; none: no warning
	}{
		"alone":                            {`forbid (principal, action == Action::"CreateUser", resource);`, []string{repeat, link}},
		"in a set of one":                  {`forbid (principal, action in [Action::"CreateUser"], resource);`, []string{repeat, link}},
		"in":                               {`forbid (principal, action in Action::"CreateUser", resource);`, []string{repeat, link}},
		"new users only":                   {`forbid (principal, action == Action::"CreateUser", resource) when { !context.existing };`, []string{link}},
		"existing in a comment":            {"// existing\nforbid (principal, action == Action::\"CreateUser\", resource) // existing\n;", []string{repeat, link}},
		"existing in a string":             {`forbid (principal, action == Action::"CreateUser", resource) when { context.name == "existing" };`, []string{repeat, link}},
		"both":                             {`forbid (principal, action in [Action::"CreateUser", Action::"LinkUser"], resource);`, nil},
		"another forbids linking":          {`forbid (principal, action == Action::"LinkUser", resource); forbid (principal, action == Action::"CreateUser", resource);`, []string{repeat}},
		"another, and new users only":      {`forbid (principal, action == Action::"LinkUser", resource); forbid (principal, action == Action::"CreateUser", resource) when { !context.existing };`, nil},
		"a permit of linking":              {`permit (principal, action == Action::"LinkUser", resource); forbid (principal, action == Action::"CreateUser", resource) when { !context.existing };`, []string{link}},
		"any action":                       {`forbid (principal, action, resource);`, nil},
		"another action":                   {`forbid (principal, action == Action::"GrantRole", resource);`, nil},
		"a permit":                         {`permit (principal, action == Action::"CreateUser", resource);`, nil},
		"what cannot be read is no matter": {`forbid (principal, action == Action::"CreateUser", resource`, nil},
	} {
		got := policy.Warnings([]policy.File{{Name: "a.cedar", Text: c.text}})
		if len(c.want) == 0 {
			if len(got) > 0 {
				t.Errorf("%s: the warnings are %v, want none", name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].File != "a.cedar" || got[0].Line == 0 || got[0].Hint == "" {
			t.Errorf("%s: the warnings are %v, want one with its place and a hint", name, got)
			continue
		}
		for _, part := range []string{repeat, link} {
			wanted := strings.Contains(strings.Join(c.want, " "), part)
			if strings.Contains(got[0].Message, part) != wanted {
				t.Errorf("%s: the warning is %q; it speaks of %s: %v, want %v", name, got[0].Message, part, !wanted, wanted)
			}
		}
	}
}
