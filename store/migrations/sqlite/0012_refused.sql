-- +goose Up
-- What was refused of what the broker stored, as it was refused, from before its dead letter is written until nobody can have it
-- delivered again: a worker that takes it up after another one finishes that verdict. counted is one without a dead letter of
-- its own. at is the time by the broker's clock.
create table refused (
  attempt text primary key,
  origin  text not null,
  counted integer not null,
  verdict blob not null,
  at      integer not null
) strict;
create index refused_at on refused (at);
