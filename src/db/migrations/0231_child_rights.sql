-- Whether the account in a child has the role admin there, as it was last seen; null: not seen yet.
alter table children add column is_admin boolean;
