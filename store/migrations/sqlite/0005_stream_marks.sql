-- +goose Up
-- How far each stream of the broker was when a worker last looked. A stream that is behind its mark, or was created anew, has
-- lost messages; so has a database whose marks are those of a backup.
create table stream_marks (
  stream        text primary key,
  created       integer not null,
  last_sequence integer not null,
  seen_at       integer not null
) strict;
