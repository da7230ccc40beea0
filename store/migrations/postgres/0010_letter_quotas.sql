-- +goose Up
-- Dead letters count on a quota of their tenant and source ('' for the sources of a tenant that nobody declared). Those from
-- before are not counted. An event beyond the quota that proved nothing has a row in counted, until a summary lists it.
create table letters (
  id       text collate "C" primary key,
  tenant   text collate "C" not null,
  source   text collate "C" not null,
  identity text collate "C" not null,
  bytes    bigint not null,
  at       timestamptz not null
);
create index letters_at on letters (at);
create index letters_identity on letters (identity) where identity <> '';

create table letter_quotas (
  tenant  text collate "C" not null,
  source  text collate "C" not null,
  letters bigint not null,
  bytes   bigint not null,
  primary key (tenant, source)
);

create table counted (
  attempt       text collate "C" primary key,
  tenant        text collate "C" not null,
  source        text collate "C" not null,
  code          text collate "C" not null,
  reason        text not null,
  at            timestamptz not null,
  summary       text collate "C" not null default '',
  claimed_until timestamptz
);
create index counted_group on counted (tenant, source, code, at) where summary = '';
create index counted_summary on counted (summary, claimed_until) where summary <> '';
