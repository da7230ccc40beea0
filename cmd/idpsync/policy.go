package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

func newPolicyCommand(a *app) *cobra.Command {
	return group("policy", "Check and try out Cedar policies before they are applied",
		newPolicyCheckCommand(a), newPolicyTestCommand(a), newPolicyDiffCommand(a), newPolicyShowCommand(a), newPolicySchemaCommand(a))
}

func newPolicyCheckCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check the *.cedar files of a folder against the grammar and the schema",
		Long: `Check the *.cedar files of a folder against the grammar and the schema, as apply does, and tell every fault with its file
and line.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := compilePolicies(args[0])
			if err != nil {
				return err
			}
			own := operatorPolicies(set)
			if asJSON {
				return printJSON(a.stdout, struct {
					Version  string          `json:"version"`
					Policies []policy.Policy `json:"policies"`
				}{set.Version(), own})
			}
			fmt.Fprintf(a.stdout, "%s: %d policies, no faults\n", args[0], len(own))
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newPolicyTestCommand(a *app) *cobra.Command {
	var folder string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Decide a file of cases by policies and compare with what it expects",
		Long: `Decide a file of cases (YAML or JSON) by the policies of a folder, and by the built-in ones, and compare the decision,
the policies that determined it and their notices with what each case expects. Nothing is sent or written.

  request: {tenant: 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0, kind: oidc, source: okta, grants: [user]}
  cases:
    - name: a login with a verified address
      request: {email: ann@acme.example, email_verified: true, roles: [{name: user}]}
      expect: {decision: allow, policies: [builtin.create-user, builtin.grant-role], notices: []}

What a case leaves out of expect is not compared. Decisions are allow, partial (the user, but not every role), deny, and
error (a policy could not be evaluated). The exit code is 1 when a case differs.`,
		Example: `  idpsync policy test deploy/policies/examples/cases.yaml --policies deploy/policies/examples`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.testPolicies(args[0], folder, asJSON)
		},
	}
	cmd.Flags().StringVar(&folder, "policies", "", "folder of the *.cedar files; without it only the built-in policies decide")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) testPolicies(file, folder string, asJSON bool) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return kit.Fail(kit.ExitUsage, "name a file of cases; idpsync help policy test shows its form", "read cases: %w", err)
	}
	cases, err := policy.ReadCases(assemble.Kinds(), file, data)
	if err != nil {
		return kit.Fail(kit.ExitUsage, "fix the file of cases; nothing was tried", "%w", err)
	}
	set, err := compilePolicies(folder)
	if err != nil {
		return err
	}
	report := policy.RunCases(set, cases)
	if asJSON {
		if err := printJSON(a.stdout, report); err != nil {
			return err
		}
	} else {
		for _, r := range report.Results {
			if r.OK {
				continue
			}
			fmt.Fprintf(a.stdout, "%s:%d: %s\n", file, r.Line, kit.Printable(r.Name))
			for _, difference := range append(r.Differences, r.Errors...) {
				fmt.Fprintf(a.stdout, "  %s\n", kit.Printable(difference))
			}
		}
		fmt.Fprintf(a.stdout, "%d passed, %d failed\n", report.Passed, report.Failed)
	}
	if report.Failed > 0 {
		return silentError{kit.ExitFailure}
	}
	return nil
}

func newPolicyShowCommand(a *app) *cobra.Command {
	var folder string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [ID...]",
		Short: "Print the built-in policies and those of a folder, or the ones of some ids",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, ids []string) error {
			set, err := compilePolicies(folder)
			if err != nil {
				return err
			}
			policies := set.Policies()
			if len(ids) > 0 {
				policies = nil
				for _, id := range ids {
					p, ok := set.Policy(id)
					if !ok {
						return kit.Fail(kit.ExitPending, "idpsync policy show lists them; --policies adds those of a folder", "there is no policy %q", id)
					}
					policies = append(policies, p)
				}
			}
			if asJSON {
				return printJSON(a.stdout, policies)
			}
			if len(ids) > 0 {
				for _, p := range policies {
					fmt.Fprintf(a.stdout, "// %s:%d\n%s\n", p.File, p.Line, p.Text)
				}
				return nil
			}
			rows := make([][]string, len(policies))
			for i, p := range policies {
				rows[i] = []string{p.ID, p.Effect, p.File + ":" + strconv.Itoa(p.Line), p.Notice}
			}
			return printTable(a.stdout, []string{"ID", "EFFECT", "FILE", "NOTICE"}, rows)
		},
	}
	cmd.Flags().StringVar(&folder, "policies", "", "folder of *.cedar files to show too")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newPolicySchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the Cedar schema that policies are checked against", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, policy.Schema())
			return err
		},
	}
}

func operatorPolicies(set *policy.Set) []policy.Policy {
	own := []policy.Policy{}
	for _, p := range set.Policies() {
		if !p.Builtin {
			own = append(own, p)
		}
	}
	return own
}

// compilePolicies compiles the policies of a folder; "" has none. Faults name the files as the caller reaches them.
func compilePolicies(folder string) (*policy.Set, error) {
	var files []policy.File
	if folder != "" {
		var err error
		if files, err = policy.Load(os.DirFS(folder), "."); err != nil {
			return nil, kit.Fail(kit.ExitUsage, "name a folder of *.cedar files", "%s: %w", folder, err)
		}
		if len(files) == 0 {
			return nil, kit.Fail(kit.ExitUsage, "name the folder that the directory's policies names", "%s holds no *.cedar file", folder)
		}
	}
	set, err := policy.Compile(files)
	if faults, ok := errors.AsType[strictyaml.Faults](err); ok {
		lines := make([]string, len(faults))
		for i, f := range faults {
			f.File = filepath.Join(folder, f.File)
			lines[i] = f.String()
		}
		return nil, kit.Fail(kit.ExitFailure, "idpsync policy schema prints what policies may read; deploy/policies/README.md explains it", "the policies have faults\n%s", strings.Join(lines, "\n"))
	}
	return set, err
}
