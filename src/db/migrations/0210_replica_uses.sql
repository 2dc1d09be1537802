-- What a copy uses in its child (`kind:id` of other copies), so that those go only after it. A removal asks who uses what
-- is to go: the index is looked up for each, and must not make anybody read a list of what came in lately.
alter table replicas add column uses text[] not null default '{}';
create index replicas_uses on replicas using gin (uses) with (fastupdate = off);
