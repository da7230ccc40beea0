-- +goose Up
-- A credential has a purpose; one that was made before there were any has ''.
alter table credentials add column purpose text not null default '';

-- An event id is unique within its scope: who sent the event, as the credential's name or the token's subject tells it.
-- Logins have '', as have all rows from before, and those that workers of an earlier version still write. A primary key can't
-- be changed in place, so the table is made anew.
create table scoped_events (
  tenant_id      text not null,
  source         text not null,
  event_id       text not null,
  scope          text not null default '',
  credential     text not null default '',
  payload_hash   blob not null,
  outcome        text not null,
  status         integer not null,
  code           text not null,
  user_id        text,
  result         blob not null,
  result_headers blob not null,
  attempt        integer not null,
  policies       text not null,
  door           text not null,
  origin         text not null,
  stored_at      integer not null,
  at             integer not null,
  primary key (tenant_id, source, event_id, scope)
) strict;
insert into scoped_events (tenant_id, source, event_id, scope, credential, payload_hash, outcome, status, code, user_id, result,
    result_headers, attempt, policies, door, origin, stored_at, at)
  select tenant_id, source, event_id, '', '', payload_hash, outcome, status, code, user_id, result,
    result_headers, attempt, policies, door, origin, stored_at, at from events order by rowid;
drop table events;
alter table scoped_events rename to events;
create index events_at on events (at);
alter table repeats add column scope text not null default '';
