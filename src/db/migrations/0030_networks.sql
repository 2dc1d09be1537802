-- Networks, subnets and ports. The parent owns every address: no child ever chooses one.
create table networks (
  id                     text primary key,
  project_id             text not null default '',
  name                   text not null default '',
  description            text not null default '',
  admin_state_up         boolean not null default true,
  status                 text not null default 'ACTIVE',
  shared                 boolean not null default false,
  external               boolean not null default false,
  is_default             boolean not null default false,
  mtu                    integer not null,
  port_security_enabled  boolean not null default true,
  availability_zone_hints text[] not null default '{}',
  availability_zones     text[] not null default '{}',
  provider_network_type     text,
  provider_physical_network text,
  provider_segmentation_id  integer,
  tags                   text[] not null default '{}',
  subnets                text[] not null default '{}',   -- kept beside the subnets, so that a list is one query
  child                  text,                           -- where a tenant network lives, once it lives anywhere
  created_at             timestamptz not null default clock_timestamp(),
  updated_at             timestamptz not null default clock_timestamp(),
  revision               bigint not null default 1,
  body                   jsonb not null default '{}'
);
create index networks_of_project on networks (project_id, created_at desc, id desc);
create index networks_for_everyone on networks (id) where shared or external;

create table subnets (
  id                text primary key,
  project_id        text not null default '',
  network_id        text not null references networks (id),
  name              text not null default '',
  description       text not null default '',
  ip_version        integer not null,
  cidr              text not null,
  gateway_ip        text,
  enable_dhcp       boolean not null default true,
  ipv6_ra_mode      text,
  ipv6_address_mode text,
  subnetpool_id     text,
  tags              text[] not null default '{}',
  created_at        timestamptz not null default clock_timestamp(),
  updated_at        timestamptz not null default clock_timestamp(),
  revision          bigint not null default 1,
  body              jsonb not null default '{}'
);
create index subnets_of_project on subnets (project_id, created_at desc, id desc);
create index subnets_of_network on subnets (network_id);

create table ports (
  id             text primary key,
  project_id     text not null default '',
  network_id     text not null references networks (id),
  name           text not null default '',
  description    text not null default '',
  mac_address    text not null,
  admin_state_up boolean not null default true,
  status         text not null default 'DOWN',
  device_id      text not null default '',
  device_owner   text not null default '',
  host_id        text not null default '',
  security_groups text[] not null default '{}',
  tags           text[] not null default '{}',
  child          text,                                   -- where it is bound
  server_made    boolean not null default false,         -- made for its server, and gone with it
  boot_index     integer not null default 0,             -- order among the ports of its server
  created_at     timestamptz not null default clock_timestamp(),
  updated_at     timestamptz not null default clock_timestamp(),
  revision       bigint not null default 1,
  body           jsonb not null default '{}',
  unique (network_id, mac_address)
);
create index ports_of_project on ports (project_id, created_at desc, id desc);
create index ports_of_network on ports (network_id, device_owner);
create index ports_of_device on ports (device_id) where device_id <> '';
create index ports_of_security_group on ports using gin (security_groups);
create index ports_not_active on ports (child, status) where child is not null and status <> 'ACTIVE';

-- Every address in use. A row whose port_id begins with `child:` is set aside for that child's own ports.
create table ip_allocations (
  subnet_id  text not null references subnets (id) on delete cascade,
  ip_address inet not null,
  port_id    text not null,
  primary key (subnet_id, ip_address)
);
create index ip_allocations_of_port on ip_allocations (port_id);
