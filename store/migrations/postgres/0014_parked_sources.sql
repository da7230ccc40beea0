-- +goose Up
-- Parked events are claimed by source, so that those of one source keep no others waiting, however many there are. parked_waiting
-- stays for workers of earlier versions.
create index parked_sources on parked (tenant, source, not_before, id) where reason <> 'deadletter_refused';
