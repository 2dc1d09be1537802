-- The QoS policy of a router's gateway; the gateway itself lies in the body.
alter table routers add column gateway_qos_policy_id text references qos_policies (id);
create index routers_by_qos_policy on routers (gateway_qos_policy_id) where gateway_qos_policy_id is not null;
