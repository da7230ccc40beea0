-- +goose Up
-- What an event may wait is counted in steps, from one attempt to the next, so that a clock that jumps does not use it up.
-- parked_at is when the present wait began; null is "when it was due", of rows that an older version wrote. waited is how
-- long the event had waited before, in microseconds.

alter table parked add column parked_at integer;
alter table parked add column waited integer not null default 0;
create index parked_parked_at on parked (parked_at);
