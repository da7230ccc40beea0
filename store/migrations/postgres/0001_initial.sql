-- +goose Up
-- Keys are compared byte for byte (collate "C"): their canonical form is made in Go, so that both databases agree.
-- A withdrawn row of the directory keeps its id: removed_at is set, and cleared when it is declared again.

create table directory (
  id                   smallint primary key default 1 check (id = 1),
  revision             bigint not null,
  credentials_revision bigint not null,
  seal_key             text not null default ''
);
insert into directory (id, revision, credentials_revision) values (1, 0, 0);

create table tenants (
  id            uuid primary key,
  name          text not null,
  owner         text not null default '',
  owner_key     text not null default '',
  default_roles text not null default '[]',
  removed_at    timestamptz
);

create table roles (
  tenant_id  uuid not null references tenants,
  id         uuid not null,
  name       text collate "C" not null,
  scope      text not null check (scope in ('tenant', 'organization')),
  removed_at timestamptz,
  primary key (tenant_id, id)
);
create unique index roles_name on roles (tenant_id, scope, name) where removed_at is null;

create table organizations (
  tenant_id  uuid not null references tenants,
  id         uuid not null,
  name       text not null,
  removed_at timestamptz,
  primary key (tenant_id, id)
);

create table sources (
  tenant_id  uuid not null references tenants,
  name       text collate "C" not null,
  kind       text not null,
  config     bytea not null,
  removed_at timestamptz,
  primary key (tenant_id, name)
);

create table policies (
  name text collate "C" primary key,
  text text not null
);

-- No foreign key to sources: the history of keys outlives a source, and a source may observe before it is applied.
create table source_keys (
  tenant_id  uuid not null references tenants,
  source     text collate "C" not null,
  issuer     text collate "C" not null,
  thumbprint text collate "C" not null,
  key_id     text not null,
  algorithm  text not null,
  material   bytea not null,
  first_seen timestamptz not null,
  last_seen  timestamptz not null,
  retired_at timestamptz,
  primary key (tenant_id, source, issuer, thumbprint)
);

create table credentials (
  id           text collate "C" primary key,
  tenant_id    uuid not null references tenants,
  name         text not null,
  secret_hash  bytea not null,
  grants       text not null,
  created_at   timestamptz not null,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz
);
create index credentials_tenant on credentials (tenant_id);

-- Of the keys of a table only one leads with tenant_id. PostgreSQL keeps the plan of a foreign key's check as long as a
-- connection lasts; made while a table was almost empty, it took any index that leads with the tenant to be as good as the
-- key itself, and then read all rows of the tenant for each check.
create table users (
  tenant_id         uuid not null references tenants,
  id                uuid not null,
  email             text not null,
  email_key         text collate "C" not null,
  email_verified    boolean not null,
  identity_name     text not null,
  identity_name_key text collate "C",
  name              text not null,
  display_name      text not null,
  first_name        text not null,
  last_name         text not null,
  auth_provider     text not null,
  avatar            text not null,
  is_owner          boolean not null,
  password_hash     text not null,
  created_by        text not null,
  created_at        timestamptz not null,
  updated_at        timestamptz not null,
  revision          bigint not null default 1,
  primary key (id, tenant_id)
);
create unique index users_email on users (email_key, tenant_id);
create unique index users_identity_name on users (identity_name_key, tenant_id) where identity_name_key is not null;
create unique index users_owner on users (tenant_id) where is_owner;

create table identities (
  tenant_id  uuid not null,
  issuer     text collate "C" not null,
  subject    text collate "C" not null,
  user_id    uuid not null,
  source     text not null,
  created_at timestamptz not null,
  primary key (subject, issuer, tenant_id),
  foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index identities_user on identities (user_id, tenant_id);

create table user_roles (
  tenant_id uuid not null,
  user_id   uuid not null,
  role_id   uuid not null,
  source    text not null,
  event_id  text not null,
  at        timestamptz not null,
  primary key (user_id, role_id, tenant_id),
  foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade,
  foreign key (tenant_id, role_id) references roles
);

create table user_organizations (
  tenant_id       uuid not null,
  user_id         uuid not null,
  organization_id uuid not null,
  role_id         uuid not null,
  source          text not null,
  event_id        text not null,
  at              timestamptz not null,
  primary key (user_id, organization_id, role_id, tenant_id),
  foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade,
  foreign key (tenant_id, organization_id) references organizations,
  foreign key (tenant_id, role_id) references roles
);

-- The ledger has no foreign key: it is history, and outlives what it speaks of.
create table events (
  tenant_id      uuid not null,
  source         text collate "C" not null,
  event_id       text collate "C" not null,
  payload_hash   bytea not null,
  outcome        text not null,
  status         smallint not null,
  code           text not null,
  user_id        uuid,
  result         bytea not null,
  result_headers bytea not null,
  attempt        integer not null,
  policies       text not null,
  door           text not null,
  origin         text collate "C" not null,
  stored_at      timestamptz not null,
  at             timestamptz not null,
  primary key (tenant_id, source, event_id)
);
create index events_at on events using brin (at) with (pages_per_range = 32);

-- A stored message that brought an event which the ledger had already: what became of it, for whoever counts messages.
create table repeats (
  origin    text collate "C" primary key,
  tenant_id uuid not null,
  source    text collate "C" not null,
  event_id  text collate "C" not null,
  at        timestamptz not null
);

create table used_ids (
  tenant_id uuid not null,
  source    text collate "C" not null,
  id        text collate "C" not null,
  event_id  text not null,
  until     timestamptz not null,
  primary key (tenant_id, source, id)
);
create index used_ids_until on used_ids (until);

create table outbox (
  id            text collate "C" primary key,
  subject       text not null,
  headers       bytea not null,
  body          bytea not null,
  at            timestamptz not null,
  claimed_by    text not null default '',
  claimed_until timestamptz
);
create index outbox_at on outbox (at);

create table parked (
  id            bigint generated always as identity primary key,
  key           text collate "C" not null unique,
  tenant        text not null,
  source        text not null,
  subject       text not null,
  headers       bytea not null,
  payload       bytea not null,
  event_id      text not null,
  stored_at     timestamptz not null,
  sequence      bigint not null,
  attempts      integer not null,
  first_failed  timestamptz not null,
  reason        text not null,
  not_before    timestamptz not null,
  claimed_by    text not null default '',
  claimed_until timestamptz
);
create index parked_not_before on parked (not_before);

create table in_flight (
  worker   text collate "C" not null,
  stream   text collate "C" not null,
  sequence bigint not null,
  boot     text not null,
  tenant   text not null,
  source   text not null,
  event_id text not null,
  at       timestamptz not null,
  primary key (worker, stream, sequence)
);

create table dead_letters (
  sequence    bigint primary key,
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
  parent      bigint not null,
  attempts    integer not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null
);
create index dead_letters_open on dead_letters (sequence) where state = 'open';

create table audit (
  id     bigint generated always as identity primary key,
  at     timestamptz not null,
  tenant text not null,
  who    text not null,
  action text not null,
  object text not null,
  detail bytea not null
);
