-- Port forwardings: each belongs to a floating IP, whose row carries a copy of them, as its replica is brought with them.
create table port_forwardings (
  id                  text primary key,
  project_id          text not null default '',
  floatingip_id       text not null references floating_ips (id),
  protocol            text not null,
  external_port_range text not null,             -- `80:80` for a single port
  external_port_start integer not null,
  internal_port_range text not null,
  internal_port_id    text not null,
  internal_ip_address text not null,
  description         text not null default '',
  created_at          timestamptz not null default clock_timestamp(),
  updated_at          timestamptz not null default clock_timestamp(),
  revision            bigint not null default 1,
  body                jsonb not null default '{}'
);
create index port_forwardings_of_floating_ip on port_forwardings (floatingip_id, id);
create index port_forwardings_of_port on port_forwardings (internal_port_id);

-- A floating IP that forwards ports has a router and no port, and its child says as well when it is up.
drop index floating_ips_under_way;
create index floating_ips_under_way on floating_ips (child) where status = 'DOWN' and router_id is not null;
