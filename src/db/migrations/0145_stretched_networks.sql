-- Networks on physical networks that several children share: one segment of it in each of them.

-- Which VLAN (0: the untagged segment) of a physical network is whose. A row outlives its network until every child has
-- let go of its copy; nobody has to delete it then, since whoever looks for a VLAN sees that it is free.
create table network_segments (
  physical_network text not null,
  segmentation_id  integer not null,
  network_id       text,                            -- null: a child has something else on it
  chosen           boolean not null default false,  -- by the parent, which may choose another
  refused_at       timestamptz,
  primary key (physical_network, segmentation_id)
);
create index network_segments_of_network on network_segments (network_id);

-- Addresses of a router on a subnet that several children have: one a child, so that no two of its copies share one.
create table stretched_addresses (
  port_id    text not null,
  subnet_id  text not null references subnets (id) on delete cascade,
  child      text not null,
  ip_address inet not null,
  primary key (port_id, subnet_id, child),
  unique (subnet_id, ip_address)
);

-- A network of one child is an overlay of its own.
update networks set provider_network_type = 'geneve' where provider_network_type is null and not external;
update networks set provider_network_type = 'flat' where provider_network_type is null and external;
create index networks_stretched on networks (provider_physical_network) where provider_physical_network is not null;
