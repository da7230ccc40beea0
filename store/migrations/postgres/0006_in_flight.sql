-- +goose Up
-- In-flight markers name the stored message in full and the run of the worker that had it in hand, so that no other message
-- and no later run of the same worker is taken for it. Workers of the version before this one go on using in_flight, whose
-- rows live for seconds; nothing else reads it any more.

create table in_flight_events (
  event    text        not null,
  run      text        not null,
  worker   text        not null,
  alone    boolean     not null,
  died     boolean     not null,
  tenant   text        not null,
  source   text        not null,
  event_id text        not null,
  at       timestamptz not null,
  primary key (event, run)
);
