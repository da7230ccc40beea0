package assemble

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

// OpenStore opens the database alone, for those that need nothing else; of the worker's configuration it uses Now and Log.
// The embedded one is made and brought up to date; for PostgreSQL that is the work of migrate, as an older worker may
// still be using the schema.
func OpenStore(ctx context.Context, o Options) (*store.Store, error) {
	so := o.Store
	if so.URL == "" && so.Path == "" {
		if err := makeDataDir(o.DataDir); err != nil {
			return nil, err
		}
		so.Path = o.databasePath()
	}
	st, err := store.Open(ctx, so)
	if err != nil {
		return nil, stop(StepOpenStore, "the database cannot be opened: %w", err)
	}
	if st.Kind() == store.SQLite {
		err = bringUpEmbedded(ctx, st, o)
	} else {
		err = checkSchema(ctx, st, o)
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

func makeDataDir(name string) error {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return stop(StepDataDir, "the data directory cannot be made: %w", err)
	}
	return nil
}

func bringUpEmbedded(ctx context.Context, st *store.Store, o Options) error {
	done, err := st.Migrate(ctx)
	if err != nil {
		return stop(StepMigrate, "the database cannot be brought up to date: %w", err)
	}
	return bringUp(ctx, st, o, len(done.Applied) > 0)
}

func checkSchema(ctx context.Context, st *store.Store, o Options) error {
	have, want, err := st.SchemaVersion(ctx)
	switch {
	case err != nil:
		return stop(StepReadSchema, "the database's schema cannot be read: %w", err)
	case have < want:
		return stop(StepOldSchema, "the database has schema %d and this program needs %d", have, want)
	case have > want:
		o.Worker.Log.Warn("the database has a newer schema than this program knows; upgrade it soon", "have", have, "want", want)
	}
	return nil
}

// bringUp does what idpsync migrate does for rows that an earlier version has written, without asking any identity provider.
// A worker does it when it starts, as another may have written some since the schema was migrated. With standing it also tells
// what an operator has yet to settle, which not every command has to.
func bringUp(ctx context.Context, st *store.Store, o Options, standing bool) error {
	report, err := manifest.Upgrade(ctx, st, manifest.UpgradeOptions{Who: o.Who, Now: o.Worker.Now, EntityID: func(s providers.Source) (string, error) {
		if s.Metadata == "" {
			return "", errors.New("its metadata are read by idpsync migrate and idpsync apply alone")
		}
		return saml.EntityID(ctx, s, &http.Client{})
	}})
	for _, r := range report {
		if r.Standing && !standing {
			continue
		}
		o.Worker.Log.Warn("the database was brought up to date", "tenant", r.Tenant, "what", r.What, "hint", r.Hint)
	}
	if err != nil {
		return stop(StepUpgrade, "%w", err)
	}
	return nil
}
