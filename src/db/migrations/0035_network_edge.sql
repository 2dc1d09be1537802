-- Routers: what a tenant asked for; each child with one of its networks has a copy (replicas of kind `router`).
create table routers (
  id                      text primary key,
  project_id              text not null default '',
  created_at              timestamptz not null default clock_timestamp(),
  updated_at              timestamptz not null default clock_timestamp(),
  revision                bigint not null default 1,
  name                    text not null default '',
  description             text not null default '',
  admin_state_up          boolean not null default true,
  status                  text not null default 'ACTIVE',
  distributed             boolean not null default false,
  ha                      boolean not null default false,
  tags                    text[] not null default '{}',
  availability_zone_hints text[] not null default '{}',
  gateway_network_id      text,                  -- the external network, null without a gateway
  gw_port_id              text,
  body                    jsonb not null default '{}'
);
create index routers_by_project on routers (project_id, created_at desc, id desc);
create index routers_by_gateway on routers (gateway_network_id) where gateway_network_id is not null;

-- Floating IPs: each lives in exactly one child, the one whose external subnet its address is of.
create table floating_ips (
  id                  text primary key,
  project_id          text not null default '',
  created_at          timestamptz not null default clock_timestamp(),
  updated_at          timestamptz not null default clock_timestamp(),
  revision            bigint not null default 1,
  description         text not null default '',
  status              text not null default 'DOWN',
  floating_network_id text not null,
  floating_ip_address text not null,
  floating_port_id    text not null,             -- the parent's own port that holds the address
  subnet_id           text not null,             -- the external subnet, which says the child
  child               text not null,
  port_id             text,
  fixed_ip_address    text,
  router_id           text,
  tags                text[] not null default '{}',
  body                jsonb not null default '{}'
);
create index floating_ips_by_project on floating_ips (project_id, created_at desc, id desc);
create unique index floating_ips_by_address on floating_ips (subnet_id, floating_ip_address);
create unique index floating_ips_by_fixed_ip on floating_ips (port_id, fixed_ip_address, floating_network_id)
  where port_id is not null;
create index floating_ips_by_router on floating_ips (router_id) where router_id is not null;
create index floating_ips_under_way on floating_ips (child) where status = 'DOWN' and port_id is not null;

-- Which external network and subnet of a child stands behind which of the parent's. They are the child's own, so that
-- they are no replicas: nothing here is ever made or removed in a child.
create table external_networks (
  child      text not null,
  child_id   text not null,
  network_id text not null,
  primary key (child, child_id)
);
create index external_networks_by_network on external_networks (network_id);
create table external_subnets (
  child      text not null,
  child_id   text not null,
  subnet_id  text not null unique,
  network_id text not null,
  primary key (child, child_id)
);
create index external_subnets_by_network on external_subnets (network_id);
