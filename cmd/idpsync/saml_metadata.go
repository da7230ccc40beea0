package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
)

func newSAMLMetadataCommand(a *app) *cobra.Command {
	var tenant, source string
	cmd := &cobra.Command{
		Use:     "saml-metadata --source NAME",
		Short:   "Print our own SAML metadata for a source, to be given to its identity provider",
		Example: "  idpsync saml-metadata --tenant acme --source adfs > sp.xml",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant (UUID or name); may be left out when there is only one")
	cmd.Flags().StringVar(&source, "source", "", "name of the SAML source; required")
	a.addSettings(cmd, areaStore)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if source == "" {
			return kit.Fail(kit.ExitUsage, "idpsync get sources lists them", "--source is missing")
		}
		return a.withStore(cmd, func(_ context.Context, _ *store.Store, d store.Directory) error {
			id, err := tenantID(d, tenant)
			if err != nil {
				return err
			}
			var found []providers.Source
			for _, row := range d.Sources {
				if row.Name != source || row.Kind != string(providers.KindSAML) || (id != "" && !strings.EqualFold(row.TenantID, id)) {
					continue
				}
				src, err := assemble.Kinds().Source(row.TenantID, row.Name, providers.KindSAML, row.Config)
				if err != nil {
					return kit.Fail(kit.ExitFailure, "apply the directory again", "source %s cannot be read: %w", source, err)
				}
				found = append(found, src)
			}
			switch len(found) {
			case 0:
				return kit.Fail(kit.ExitPending, "idpsync get sources lists what there is", "there is no SAML source %s", source)
			case 1:
			default:
				return kit.Fail(kit.ExitUsage, "name the tenant with --tenant", "several tenants have a SAML source %s", source)
			}
			text, err := saml.Metadata(found[0])
			if err != nil {
				return kit.Fail(kit.ExitFailure, "check entity_id, acs_url and certificate_file of the source", "%w", err)
			}
			_, err = a.stdout.Write(text)
			return err
		})
	}
	return cmd
}
