-- +goose Up
-- How far each stream of the broker was when a worker last looked. A stream that is behind its mark, or was created anew, has
-- lost messages; so has a database whose marks are those of a backup.
create table stream_marks (
  stream        text collate "C" primary key,
  created       timestamptz not null,
  last_sequence bigint not null,
  seen_at       timestamptz not null
);
