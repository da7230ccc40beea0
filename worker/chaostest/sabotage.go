package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/worker/fault"
)

// noLedger is the one sabotage that is not made around the parts of a worker: what a worker reads in a transaction, it reads
// of a store.Tx, which no decorator can stand in for. So the database does it, and the workers run as they are.
const noLedger = "no-ledger"

func sabotages() []string {
	names := []string{noLedger}
	for _, s := range fault.Sabotages() {
		names = append(names, s.Name)
	}
	return names
}

func (o options) check() error {
	if o.sabotage != "" && !slices.Contains(sabotages(), o.sabotage) {
		return fmt.Errorf("there is no sabotage %q; choose one of %s", o.sabotage, strings.Join(sabotages(), ", "))
	}
	return nil
}

// hideLedger has the rows of the ledger written where no worker looks, the first of each event. A worker that finds none
// decides each delivery anew.
func hideLedger(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `
		create table hidden_events (like events including all);
		create function hide_event() returns trigger language plpgsql as $$
		begin
			insert into hidden_events values (new.*) on conflict do nothing;
			return null;
		end $$;
		create trigger hide_event before insert on events for each row execute function hide_event();`)
	if err != nil {
		return fmt.Errorf("hide the ledger: %w", err)
	}
	return nil
}

// showLedger puts the rows back for the verdict, which is to find double effects and not an empty ledger.
func showLedger(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `drop trigger hide_event on events; insert into events select * from hidden_events`)
	if err != nil {
		return fmt.Errorf("show the ledger: %w", err)
	}
	return nil
}
