-- The day on which a user last proved themselves by their password or was enabled, where accounts end that nobody uses.
alter table identity_users add column last_active_at date;
