package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

func newApplyCommand(a *app) *cobra.Command {
	v := applyVerb{app: a}
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the directory what a file declares: tenants, roles, organizations, sources, policies",
		Long: `Make the directory what a file declares: tenants, roles, organizations, sources and policies.

The file declares all of it: what it leaves out is removed. The difference is shown before anything is written. A running
worker follows within seconds. deploy/directory.example.yaml explains the form.

What is removed is withdrawn, not destroyed: users and their grants stay, and declaring the same id again brings it back.

A source whose issuer (or kind) changes would lock its users out, since their identities belong to the old one. So apply
counts them and asks for a decision: --move-identities when the subjects stay the same, --start-anew when the new issuer
has other subjects; then the first login of each user takes the user again, as that of a provisioned user, by its proved
address. Both take the names of sources, or none for all that change. A source that speaks for no domain cannot start anew.

A SAML source whose metadata name an entityID under which another source made identities is refused until issuer: says so
in the file. Identities that are left without a source are listed; idpsync identities move gives them to one.

Warnings tell what can be applied and should not stay, such as a source without domains. With --strict they are refused
like faults, with exit code 2.`,
		Example: `  idpsync apply -f directory.yaml              show the difference, ask, write
  idpsync apply -f directory.yaml --dry-run    show the difference; exit code 3 when there is one
  idpsync apply -f directory.yaml --yes        write without asking
  idpsync apply -f directory.yaml --strict     refuse a file that has warnings
  idpsync apply -f directory.yaml --move-identities=okta`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (slices.Contains(v.move, everySource) || slices.Contains(v.anew, everySource)) {
				return kit.Fail(kit.ExitUsage, "write --move-identities=NAME or --start-anew=NAME, with = before the name", "%q is not the value of a flag", args[0])
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	cmd.Flags().StringVarP(&v.file, "file", "f", "", "directory file (YAML); - for standard input")
	cmd.Flags().BoolVar(&v.dryRun, "dry-run", false, "show the difference and write nothing")
	cmd.Flags().BoolVar(&v.strict, "strict", false, "refuse a file that has warnings, as if they were faults")
	cmd.Flags().StringSliceVar(&v.move, "move-identities", nil, "give the identities of sources whose issuer changes the new one")
	cmd.Flags().StringSliceVar(&v.anew, "start-anew", nil, "end the identities of sources whose issuer changes, so that logins link anew")
	for _, name := range []string{"move-identities", "start-anew"} {
		cmd.Flags().Lookup(name).NoOptDefVal = everySource
	}
	yesFlag(cmd, &v.yes)
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

// everySource stands for the sources that a flag leaves out.
const everySource = "*"

type applyVerb struct {
	app    *app
	file   string
	dryRun bool
	strict bool
	yes    bool
	json   bool
	move   []string
	anew   []string
}

// applied is what apply prints with --json.
type applied struct {
	Revision int64            `json:"revision"` // that is in force now
	Applied  bool             `json:"applied"`
	Changes  manifest.Changes `json:"changes"`
	Moves    []appliedMove    `json:"moves,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
}

func (v *applyVerb) run(cmd *cobra.Command) (err error) {
	ctx, a := cmd.Context(), v.app
	c, err := a.config(cmd)
	if err != nil {
		return err
	}
	declared, err := a.declaration(ctx, v.file)
	if err != nil {
		return err
	}
	if n := len(declared.Warnings); v.strict && n > 0 {
		return kit.Fail(kit.ExitUsage, "fix these, or apply without --strict; nothing was changed", "%s is not applied with --strict, it has %s:\n%w", v.file, kit.Count(n, "warning"), declared.Warnings)
	}
	report := applied{Changes: manifest.Changes{}}
	for _, w := range declared.Warnings {
		report.Warnings = append(report.Warnings, w.String())
		if !v.json {
			fmt.Fprintf(a.stderr, "warning: %s\n", w)
		}
	}
	if v.dryRun && c.noDatabase() {
		plan, err := v.plan(store.Directory{}, declared, &report)
		if err != nil {
			return err
		}
		return v.finish(report, v.show(plan.Changes))
	}
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return err
	}
	defer closeStore(st, &err)
	// Somebody else may apply between our look and our write; then we look again.
	for range 5 {
		again, failed := v.once(ctx, st, declared, &report)
		if failed != nil || !again {
			return v.finish(report, failed)
		}
		fmt.Fprintln(a.stderr, "the directory was changed by somebody else in the meantime; looking again")
	}
	return kit.Fail(kit.ExitRefused, "find out who else applies; idpsync get audit --action directory.apply", "the directory kept changing; nothing was written")
}

// once looks, shows, asks and writes. It reports again when the directory changed between the look and the write.
func (v *applyVerb) once(ctx context.Context, st *store.Store, declared manifest.Declaration, report *applied) (again bool, err error) {
	a := v.app
	have, err := st.Directory(ctx)
	if err != nil {
		return false, kit.Fail(kit.ExitFailure, "check that the database is reachable", "the directory cannot be read: %w", err)
	}
	report.Revision = have.Revision
	plan, err := v.plan(have, declared, report)
	if err != nil || len(plan.Changes) == 0 {
		return false, err
	}
	keeps, err := st.Retention(ctx)
	if err == nil {
		err = ledgerCoversSources(keeps.Ledger, plan.Directory)
	}
	if err != nil {
		return false, err
	}
	steps, undecided, err := v.moves(ctx, st, plan, report)
	if err != nil {
		return false, err
	}
	if err := v.show(plan.Changes); err != nil {
		if undecided != nil {
			fmt.Fprintln(a.stderr, "without a decision this would be refused: add --move-identities if the subjects stay the same, --start-anew if the new issuer has others")
		}
		return false, err
	}
	if undecided != nil {
		return false, undecided
	}
	if err := a.confirm(v.yes, v.question(plan.Changes)); err != nil {
		return false, err
	}
	revision, err := st.ApplyDirectory(ctx, have.Revision, plan.Directory, operator(), a.now(), steps...)
	switch {
	case errors.Is(err, store.ErrStaleDirectory):
		return true, nil
	case errors.Is(err, store.ErrConstraint):
		return false, kit.Fail(kit.ExitFailure, "ids belong to one tenant for ever; use new ones", "the database refused the directory: %w", err)
	case err != nil:
		return false, kit.Fail(kit.ExitFailure, "nothing was written; try again", "the directory cannot be written: %w", err)
	}
	report.Revision, report.Applied = revision, true
	return false, nil
}

// plan compares the declaration with the directory in force, and prints what it warns of.
func (v *applyVerb) plan(have store.Directory, declared manifest.Declaration, report *applied) (manifest.Plan, error) {
	plan, err := manifest.NewPlan(have, declared)
	if err != nil {
		return plan, kit.Fail(kit.ExitUsage, "correct these and apply again, or name the identity provider of a SAML source in issuer; nothing was changed", "%s cannot be applied: %w", v.file, err)
	}
	if v.strict && len(plan.Warnings) > 0 {
		return plan, kit.Fail(kit.ExitUsage, "fix these, or apply without --strict; nothing was changed", "%s is not applied with --strict:\n%s", v.file, strings.Join(plan.Warnings, "\n"))
	}
	for _, w := range plan.Warnings {
		if slices.Contains(report.Warnings, w) {
			continue
		}
		report.Warnings = append(report.Warnings, w)
		if !v.json {
			fmt.Fprintf(v.app.stderr, "warning: %s\n", w)
		}
	}
	report.Changes = plan.Changes
	return plan, nil
}

// show prints the changes, with --json only where somebody is to be asked of them. A dry run ends here.
func (v *applyVerb) show(changes manifest.Changes) error {
	out := v.app.stdout
	if v.json {
		out = v.app.stderr
	}
	if !v.json || !v.dryRun && !v.yes {
		if err := changes.Render(out, v.app.colours(out)); err != nil {
			return err
		}
	}
	if v.dryRun && len(changes) > 0 {
		return silentError{kit.ExitPending}
	}
	return nil
}

func (v *applyVerb) question(c manifest.Changes) string {
	gone := 0
	for _, d := range c {
		if d.Op == manifest.Remove && d.Kind == manifest.KindTenant {
			gone++
		}
	}
	if gone > 0 {
		return fmt.Sprintf("Write this, which withdraws %s so that events of it are refused?", kit.Count(gone, "tenant"))
	}
	return "Write this?"
}

func (v *applyVerb) finish(report applied, err error) error {
	pending := errors.Is(err, silentError{kit.ExitPending})
	if err != nil && !pending {
		return err
	}
	if v.json {
		if failed := printJSON(v.app.stdout, report); failed != nil {
			return failed
		}
		return err
	}
	switch {
	case len(report.Changes) == 0:
		fmt.Fprintf(v.app.stdout, "nothing to change; the directory is at revision %d\n", report.Revision)
	case pending:
		fmt.Fprintln(v.app.stdout, "dry run: nothing was written")
	default:
		fmt.Fprintf(v.app.stdout, "applied: the directory is at revision %d; running workers follow within seconds\n", report.Revision)
	}
	return err
}

// declaration reads a directory file with all checks that can be made without a database.
func (a *app) declaration(ctx context.Context, file string) (manifest.Declaration, error) {
	o := a.checks(ctx)
	var d manifest.Declaration
	var err error
	switch file {
	case "":
		return d, kit.Fail(kit.ExitUsage, "idpsync apply -f directory.yaml; deploy/directory.example.yaml explains the form", "no directory file is named")
	case "-":
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(a.stdin, 8<<20)); err == nil {
			d, err = manifest.Parse("stdin", data, o)
		}
	default:
		d, err = manifest.Load(file, o)
	}
	if faults, ok := errors.AsType[strictyaml.Faults](err); ok {
		return d, kit.Fail(kit.ExitUsage, "correct these and apply again; nothing was changed", "%s cannot be applied, it has %s:\n%w", file, kit.Count(len(faults), "fault"), faults)
	}
	return d, err
}

// checks are those of a directory file that need no database.
func (a *app) checks(ctx context.Context) manifest.Options {
	return manifest.Options{
		Kinds: assemble.Kinds(), CheckSource: a.checkSource, ReadIssuer: issuerReader(ctx), CheckPolicies: checkPolicies, WarnOfPolicies: warnOfPolicies,
	}
}

// checkSource makes the provider of a source, which contacts nobody, and throws it away.
func (a *app) checkSource(s providers.Source) (warnings []string, err error) {
	kind, ok := assemble.Kinds().Of(s.Kind)
	if !ok {
		return nil, fmt.Errorf("this version of idpsync knows no sources of kind %s", s.Kind)
	}
	p, err := kind.New(s, providers.Environment{
		Keys: noKeys{}, Credentials: noCredentials{}, HTTP: &http.Client{}, Now: a.now, Log: newLogger(io.Discard, nil, "text"),
	})
	if err != nil {
		return nil, err
	}
	if c, ok := p.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	if r, ok := p.(providers.Reviewer); ok {
		return r.Review(a.now())
	}
	return nil, nil
}

func checkPolicies(rows []store.Policy) error {
	_, err := policy.Compile(policyFiles(rows))
	return err
}

func warnOfPolicies(rows []store.Policy) strictyaml.Faults { return policy.Warnings(policyFiles(rows)) }

func policyFiles(rows []store.Policy) []policy.File {
	files := make([]policy.File, len(rows))
	for i, r := range rows {
		files[i] = policy.File(r)
	}
	return files
}

// noKeys and noCredentials stand in for the store where a source is only checked.
type (
	noKeys        struct{}
	noCredentials struct{}
)

var (
	_ providers.Keys        = noKeys{}
	_ providers.Credentials = noCredentials{}
)

func (noKeys) Clock(context.Context, time.Time) (time.Time, error) { return time.Time{}, nil }

func (noKeys) Keys(context.Context, string, string, string) (providers.KeyHistory, error) {
	return providers.KeyHistory{}, nil
}

func (noKeys) Observe(context.Context, string, string, string, providers.KeyObservation) error {
	return nil
}

func (noCredentials) Credential(context.Context, string) (providers.Credential, error) {
	return providers.Credential{}, providers.ErrNoCredential
}
func (noCredentials) Used(string, time.Time) {}

// operator names who runs this command, for the audit.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// closeStore closes a store at the end of a verb, whose error comes first.
func closeStore(st *store.Store, err *error) {
	if failed := st.Close(); failed != nil && *err == nil {
		*err = kit.Fail(kit.ExitFailure, "", "the database was not closed cleanly: %w", failed)
	}
}

// resolveTenant finds a tenant of the directory by its id or its name.
func resolveTenant(d store.Directory, name string) (store.Tenant, error) {
	id, isID := parseUUID(name)
	i := slices.IndexFunc(d.Tenants, func(t store.Tenant) bool { return isID && t.ID == id || t.Name == name })
	if i >= 0 {
		return d.Tenants[i], nil
	}
	names := make([]string, len(d.Tenants))
	for i, t := range d.Tenants {
		names[i] = t.Name
	}
	hint := "idpsync get tenants lists them"
	if near := strictyaml.Closest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s? idpsync get tenants lists them", near)
	}
	return store.Tenant{}, kit.Fail(kit.ExitPending, hint, "there is no tenant %q", name)
}
