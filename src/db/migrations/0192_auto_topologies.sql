-- The network and the router that a project got without asking for single parts (auto-allocated topology).
create table auto_topologies (
  project_id text primary key,
  network_id text not null references networks (id) on delete cascade,
  router_id  text not null references routers (id) on delete cascade
);
create index auto_topologies_by_network on auto_topologies (network_id);
create index auto_topologies_by_router on auto_topologies (router_id);

-- What administrators call the segments of networks; a network has one.
create table segment_names (
  network_id  text primary key references networks (id) on delete cascade,
  name        text,
  description text
);
