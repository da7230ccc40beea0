-- +goose Up
-- UUIDs are lower-case text, times are microseconds since 1970 in UTC, booleans are 0 and 1.
-- Keys are compared byte for byte: their canonical form is made in Go, so that both databases agree.
-- A withdrawn row of the directory keeps its id: removed_at is set, and cleared when it is declared again.

create table directory (
  id                   integer primary key default 1 check (id = 1),
  revision             integer not null,
  credentials_revision integer not null,
  seal_key             text not null default ''
) strict;
insert into directory (id, revision, credentials_revision) values (1, 0, 0);

create table tenants (
  id            text primary key,
  name          text not null,
  owner         text not null default '',
  owner_key     text not null default '',
  default_roles text not null default '[]',
  removed_at    integer
) strict;

create table roles (
  tenant_id  text not null references tenants,
  id         text not null,
  name       text not null,
  scope      text not null check (scope in ('tenant', 'organization')),
  removed_at integer,
  primary key (tenant_id, id)
) strict, without rowid;
create unique index roles_name on roles (tenant_id, scope, name) where removed_at is null;

create table organizations (
  tenant_id  text not null references tenants,
  id         text not null,
  name       text not null,
  removed_at integer,
  primary key (tenant_id, id)
) strict, without rowid;

create table sources (
  tenant_id  text not null references tenants,
  name       text not null,
  kind       text not null,
  config     blob not null,
  removed_at integer,
  primary key (tenant_id, name)
) strict;

create table policies (
  name text primary key,
  text text not null
) strict;

-- No foreign key to sources: the history of keys outlives a source, and a source may observe before it is applied.
create table source_keys (
  tenant_id  text not null references tenants,
  source     text not null,
  issuer     text not null,
  thumbprint text not null,
  key_id     text not null,
  algorithm  text not null,
  material   blob not null,
  first_seen integer not null,
  last_seen  integer not null,
  retired_at integer,
  primary key (tenant_id, source, issuer, thumbprint)
) strict;

create table credentials (
  id           text primary key,
  tenant_id    text not null references tenants,
  name         text not null,
  secret_hash  blob not null,
  grants       text not null,
  created_at   integer not null,
  expires_at   integer,
  revoked_at   integer,
  last_used_at integer
) strict;
create index credentials_tenant on credentials (tenant_id);

-- Of the keys of a table only one leads with tenant_id. PostgreSQL keeps the plan of a foreign key's check as long as a
-- connection lasts; made while a table was almost empty, it took any index that leads with the tenant to be as good as the
-- key itself, and then read all rows of the tenant for each check.
create table users (
  tenant_id         text not null references tenants,
  id                text not null,
  email             text not null,
  email_key         text not null,
  email_verified    integer not null,
  identity_name     text not null,
  identity_name_key text,
  name              text not null,
  display_name      text not null,
  first_name        text not null,
  last_name         text not null,
  auth_provider     text not null,
  avatar            text not null,
  is_owner          integer not null,
  password_hash     text not null,
  created_by        text not null,
  created_at        integer not null,
  updated_at        integer not null,
  revision          integer not null default 1,
  primary key (tenant_id, id)
) strict;
create unique index users_email on users (email_key, tenant_id);
create unique index users_identity_name on users (identity_name_key, tenant_id) where identity_name_key is not null;
create unique index users_owner on users (tenant_id) where is_owner;

create table identities (
  tenant_id  text not null,
  issuer     text not null,
  subject    text not null,
  user_id    text not null,
  source     text not null,
  created_at integer not null,
  primary key (subject, issuer, tenant_id),
  foreign key (tenant_id, user_id) references users on delete cascade
) strict, without rowid;
create index identities_user on identities (user_id, tenant_id);

create table user_roles (
  tenant_id text not null,
  user_id   text not null,
  role_id   text not null,
  source    text not null,
  event_id  text not null,
  at        integer not null,
  primary key (user_id, role_id, tenant_id),
  foreign key (tenant_id, user_id) references users on delete cascade,
  foreign key (tenant_id, role_id) references roles
) strict, without rowid;

create table user_organizations (
  tenant_id       text not null,
  user_id         text not null,
  organization_id text not null,
  role_id         text not null,
  source          text not null,
  event_id        text not null,
  at              integer not null,
  primary key (user_id, organization_id, role_id, tenant_id),
  foreign key (tenant_id, user_id) references users on delete cascade,
  foreign key (tenant_id, organization_id) references organizations,
  foreign key (tenant_id, role_id) references roles
) strict, without rowid;

-- The ledger has no foreign key: it is history, and outlives what it speaks of.
create table events (
  tenant_id      text not null,
  source         text not null,
  event_id       text not null,
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
  primary key (tenant_id, source, event_id)
) strict;
create index events_at on events (at);

-- A stored message that brought an event which the ledger had already: what became of it, for whoever counts messages.
create table repeats (
  origin    text primary key,
  tenant_id text not null,
  source    text not null,
  event_id  text not null,
  at        integer not null
) strict, without rowid;

create table used_ids (
  tenant_id text not null,
  source    text not null,
  id        text not null,
  event_id  text not null,
  until     integer not null,
  primary key (tenant_id, source, id)
) strict, without rowid;
create index used_ids_until on used_ids (until);

create table outbox (
  id            text primary key,
  subject       text not null,
  headers       blob not null,
  body          blob not null,
  at            integer not null,
  claimed_by    text not null default '',
  claimed_until integer
) strict;
create index outbox_at on outbox (at);

create table parked (
  id            integer primary key autoincrement,
  key           text not null unique,
  tenant        text not null,
  source        text not null,
  subject       text not null,
  headers       blob not null,
  payload       blob not null,
  event_id      text not null,
  stored_at     integer not null,
  sequence      integer not null,
  attempts      integer not null,
  first_failed  integer not null,
  reason        text not null,
  not_before    integer not null,
  claimed_by    text not null default '',
  claimed_until integer
) strict;
create index parked_not_before on parked (not_before);

create table in_flight (
  worker   text not null,
  stream   text not null,
  sequence integer not null,
  boot     text not null,
  tenant   text not null,
  source   text not null,
  event_id text not null,
  at       integer not null,
  primary key (worker, stream, sequence)
) strict, without rowid;

create table dead_letters (
  sequence    integer primary key,
  tenant      text not null,
  source      text not null,
  event_id    text not null,
  code        text not null,
  reason      text not null,
  fingerprint text not null,
  state       text not null,
  who         text not null,
  why         text not null,
  campaign    text not null,
  outcome     text not null,
  parent      integer not null,
  attempts    integer not null,
  created_at  integer not null,
  updated_at  integer not null
) strict;
create index dead_letters_open on dead_letters (sequence) where state = 'open';

create table audit (
  id     integer primary key autoincrement,
  at     integer not null,
  tenant text not null,
  who    text not null,
  action text not null,
  object text not null,
  detail blob not null
) strict;
