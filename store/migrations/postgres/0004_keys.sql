-- +goose Up
-- Keys of issuers. One public key may be published in several entries, which differ in kid, alg, use or key_ops: variant
-- tells them apart. public_key names the key itself, whatever entry or certificate it stands in; '' is "not known yet", of
-- rows that an older version wrote.

alter table directory add column keys_revision bigint not null default 0;

delete from source_keys k where not exists (
  select 1 from sources s where s.tenant_id = k.tenant_id and s.name = k.source and s.removed_at is null);

alter table source_keys add column variant text collate "C" not null default '';
alter table source_keys add column public_key text collate "C" not null default '';
alter table source_keys drop constraint source_keys_pkey;
alter table source_keys add primary key (tenant_id, source, issuer, thumbprint, variant);
-- A JWK is named by its own thumbprint, in base64url; that of a certificate, in hex, is longer.
update source_keys set public_key = thumbprint where length(thumbprint) = 43;
-- A worker whose clock was fast may have written times that are still to come.
update source_keys set first_seen = least(first_seen, now()), last_seen = least(last_seen, now()), retired_at = least(retired_at, now());

-- What is known of one issuer by one source, beside the keys themselves.
create table key_histories (
  tenant_id     uuid not null references tenants,
  source        text collate "C" not null,
  issuer        text collate "C" not null,
  asked_at      timestamptz,
  valid_until   timestamptz,
  revision      bigint not null,
  claimed_by    text not null default '',
  claimed_until timestamptz,
  primary key (tenant_id, source, issuer)
);
create index key_histories_revision on key_histories (revision);
create index key_histories_issuer on key_histories (issuer);
insert into key_histories (tenant_id, source, issuer, asked_at, revision)
  select tenant_id, source, issuer, max(greatest(last_seen, retired_at)), 0 from source_keys group by tenant_id, source, issuer;

-- A ban belongs to the issuer, whichever tenant and source meet it, and outlives them.
create table key_bans (
  issuer      text collate "C" not null,
  public_key  text collate "C" not null,
  banned_from timestamptz,
  at          timestamptz not null,
  who         text not null,
  why         text not null,
  primary key (issuer, public_key)
);
