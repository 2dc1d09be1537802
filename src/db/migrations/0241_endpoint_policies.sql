-- OS-ENDPOINT-POLICY: which policy holds for an endpoint, for a service, or for a service within a region.
create table identity_policy_associations (
  policy_id text not null references identity_policies (id) on delete cascade,
  endpoint_id text references identity_endpoints (id) on delete cascade,
  service_id text references identity_services (id) on delete cascade,
  region_id text references identity_regions (id) on delete cascade,
  check ((endpoint_id is null) <> (service_id is null) and (region_id is null or service_id is not null))
);
-- What is named has one policy: another takes its place.
create unique index identity_policy_associations_of on identity_policy_associations
  (coalesce(endpoint_id, ''), coalesce(service_id, ''), coalesce(region_id, ''));
create index identity_policy_associations_policy on identity_policy_associations (policy_id);
create index identity_policy_associations_service on identity_policy_associations (service_id);
create index identity_policy_associations_region on identity_policy_associations (region_id);
