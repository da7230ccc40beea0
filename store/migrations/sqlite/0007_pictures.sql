-- +goose Up
-- A picture that was replaced, with the last revision of the user that had it: answers of the ledger may speak of it.
create table former_avatars (
  tenant_id text not null,
  user_id   text not null,
  revision  integer not null,
  avatar    text not null,
  at        integer not null,
  primary key (user_id, revision, tenant_id),
  foreign key (tenant_id, user_id) references users on delete cascade
) strict;
create index former_avatars_at on former_avatars (at);
