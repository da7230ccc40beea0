-- +goose Up
-- When an operator last accepted that broker and database do not fit together. What lies before it is not asked for.
alter table stream_marks add column accepted_at integer;
