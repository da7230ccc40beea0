-- +goose Up
-- Dead letters count on a quota of their tenant and source ('' for the sources of a tenant that nobody declared). Those from
-- before are not counted. An event beyond the quota that proved nothing has a row in counted, until a summary lists it.
create table letters (
  id       text primary key,
  tenant   text not null,
  source   text not null,
  identity text not null,
  bytes    integer not null,
  at       integer not null
) strict;
create index letters_at on letters (at);
create index letters_identity on letters (identity) where identity <> '';

create table letter_quotas (
  tenant  text not null,
  source  text not null,
  letters integer not null,
  bytes   integer not null,
  primary key (tenant, source)
) strict;

create table counted (
  attempt       text primary key,
  tenant        text not null,
  source        text not null,
  code          text not null,
  reason        text not null,
  at            integer not null,
  summary       text not null default '',
  claimed_until integer
) strict;
create index counted_group on counted (tenant, source, code, at) where summary = '';
create index counted_summary on counted (summary, claimed_until) where summary <> '';
