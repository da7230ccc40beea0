-- +goose Up
-- How long rows are kept, in seconds; from when on the ledger is whole; and which worker deletes old rows.
create table retention (
  id            integer primary key default 1 check (id = 1),
  ledger        integer not null,
  audit         integer not null,
  history_from  integer,
  claimed_by    text not null default '',
  claimed_until integer
) strict;
insert into retention (id, ledger, audit) values (1, 100 * 86400, 730 * 86400);

-- Old rows are found in their order in time, a few at a time.
create index repeats_at on repeats (at);
create index dead_letters_updated_at on dead_letters (updated_at);
create index audit_at on audit (at);
