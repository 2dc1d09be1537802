-- Changes of an object that no child is told of (tags, a network's list of subnets): counted beside the revision, so
-- that `revision_number` tells of them and copies in children stay as they are.
alter table networks add column touched integer not null default 0;
alter table subnets add column touched integer not null default 0;
alter table ports add column touched integer not null default 0;
alter table routers add column touched integer not null default 0;
alter table floating_ips add column touched integer not null default 0;
alter table security_groups add column touched integer not null default 0;
alter table subnet_pools add column touched integer not null default 0;
alter table qos_policies add column touched integer not null default 0;
alter table trunks add column touched integer not null default 0;
