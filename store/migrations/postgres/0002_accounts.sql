-- +goose Up
-- An identity belongs to a trust anchor: the kind of source and the issuer. '' is an identity from before that was kept;
-- idpsync migrate finds out its kind, and no login takes it until then.
alter table identities add column kind text collate "C" not null default '';
create index identities_unpinned on identities (tenant_id) where kind = '';

-- A reserved address is unique in the tenant, others may repeat. null is a user from before that was kept.
alter table users add column email_reserved boolean;
-- What a worker of an earlier version inserts is as unique as it was then.
alter table users alter column email_reserved set default true;
drop index users_email;
create unique index users_email_reserved on users (email_key, tenant_id) where email_reserved;
create index users_email_unreserved on users (email_key, tenant_id) where not email_reserved;
create index users_email_undecided on users (tenant_id) where email_reserved is null;

-- The skeleton of the identity name: names that look alike have the same one. null is a user from before that was kept.
alter table users add column name_skeleton text collate "C";
create unique index users_name_skeleton on users (name_skeleton, tenant_id) where name_skeleton is not null;
create index users_name_undecided on users (tenant_id, id) where name_skeleton is null;
