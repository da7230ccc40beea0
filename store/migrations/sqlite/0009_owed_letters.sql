-- +goose Up
-- Dead letters that their stream refused are parked too, as they are to be written. Workers look for them and for events that
-- wait apart from each other, so that thousands of the ones cost the others nothing.
drop index parked_not_before;
create index parked_waiting on parked (not_before) where reason <> 'deadletter_refused';
create index parked_letters on parked (not_before) where reason = 'deadletter_refused';
