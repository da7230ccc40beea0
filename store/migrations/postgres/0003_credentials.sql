-- +goose Up
-- A credential has a purpose; one that was made before there were any has ''.
alter table credentials add column purpose text collate "C" not null default '';

-- An event id is unique within its scope: who sent the event, as the credential's name or the token's subject tells it.
-- Logins have '', as have all rows from before, and those that workers of an earlier version still write.
alter table events add column scope text collate "C" not null default '';
alter table events add column credential text collate "C" not null default '';
alter table events drop constraint events_pkey, add primary key (tenant_id, source, event_id, scope);
alter table repeats add column scope text collate "C" not null default '';
