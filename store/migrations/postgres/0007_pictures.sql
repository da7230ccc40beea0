-- +goose Up
-- Pictures and what holds them are compressed already: storing them as they are saves the processor the attempt.
alter table events alter column result set storage external;
alter table outbox alter column body set storage external;
alter table parked alter column payload set storage external;
alter table users alter column avatar set storage external;

-- A picture that was replaced, with the last revision of the user that had it: answers of the ledger may speak of it.
create table former_avatars (
  tenant_id uuid not null,
  user_id   uuid not null,
  revision  bigint not null,
  avatar    text not null,
  at        timestamptz not null,
  primary key (user_id, revision, tenant_id),
  foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
alter table former_avatars alter column avatar set storage external;
create index former_avatars_at on former_avatars (at);
