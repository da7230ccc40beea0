-- +goose Up
-- Keys of issuers. One public key may be published in several entries, which differ in kid, alg, use or key_ops: variant
-- tells them apart. public_key names the key itself, whatever entry or certificate it stands in; '' is "not known yet", of
-- rows that an older version wrote.

alter table directory add column keys_revision integer not null default 0;

create table source_keys_new (
  tenant_id  text not null references tenants,
  source     text not null,
  issuer     text not null,
  thumbprint text not null,
  variant    text not null default '',
  public_key text not null default '',
  key_id     text not null,
  algorithm  text not null,
  material   blob not null,
  first_seen integer not null,
  last_seen  integer not null,
  retired_at integer,
  primary key (tenant_id, source, issuer, thumbprint, variant)
) strict;
-- A JWK is named by its own thumbprint, in base64url; that of a certificate, in hex, is longer. A worker whose clock was
-- fast may have written times that are still to come.
insert into source_keys_new (tenant_id, source, issuer, thumbprint, public_key, key_id, algorithm, material, first_seen, last_seen, retired_at)
  select tenant_id, source, issuer, thumbprint, case when length(thumbprint) = 43 then thumbprint else '' end, key_id, algorithm, material,
    min(first_seen, unixepoch() * 1000000), min(last_seen, unixepoch() * 1000000), min(retired_at, unixepoch() * 1000000)
  from source_keys k where exists (
    select 1 from sources s where s.tenant_id = k.tenant_id and s.name = k.source and s.removed_at is null);
drop table source_keys;
alter table source_keys_new rename to source_keys;

-- What is known of one issuer by one source, beside the keys themselves.
create table key_histories (
  tenant_id     text not null references tenants,
  source        text not null,
  issuer        text not null,
  asked_at      integer,
  valid_until   integer,
  revision      integer not null,
  claimed_by    text not null default '',
  claimed_until integer,
  primary key (tenant_id, source, issuer)
) strict;
create index key_histories_revision on key_histories (revision);
create index key_histories_issuer on key_histories (issuer);
insert into key_histories (tenant_id, source, issuer, asked_at, revision)
  select tenant_id, source, issuer, max(max(last_seen, coalesce(retired_at, last_seen))), 0 from source_keys group by tenant_id, source, issuer;

-- A ban belongs to the issuer, whichever tenant and source meet it, and outlives them.
create table key_bans (
  issuer      text not null,
  public_key  text not null,
  banned_from integer,
  at          integer not null,
  who         text not null,
  why         text not null,
  primary key (issuer, public_key)
) strict;
