package worker

import (
	"context"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// forStrangers makes the provider that verifies the commands of tenants which the directory does not have.
func (d *Directories) forStrangers() providers.Provider {
	factory, ok := d.factories[providers.KindCommand]
	if !ok {
		return nil
	}
	p, err := factory(providers.Source{Name: providers.AdminSource, Kind: providers.KindCommand}, d.env)
	if err != nil {
		d.log.Error("commands cannot be verified", "error", err)
		return nil
	}
	return p
}

// refuseStranger rejects an event of a tenant that the directory does not have. Only who proves a right to know learns
// that: a command is verified as if the tenant were there, so that an outsider finds no difference. Logins and feeds
// come through the broker alone, whose permissions name the tenant.
func (w *Worker) refuseStranger(ctx context.Context, e *event) {
	if p := w.directories.strangers; p != nil && carries(providers.KindCommand, e.env.Shape) {
		if _, err := p.Verify(ctx, e.env); err != nil {
			e.refuse(err)
			if e.rejection != nil {
				e.rejection = fromDirectory(e.rejection)
			}
			return
		}
	}
	e.rejection = fromDirectory(record.Reject(record.CodeUnknownTenant, "", "There is no such tenant."))
	e.rejection.Hint = "Declare the tenant with idpsync apply, then replay."
}
