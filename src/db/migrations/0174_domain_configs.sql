-- A domain's own settings. Encrypted as credentials are: a password for an LDAP server may be among them.
create table identity_domain_configs (
  domain_id text primary key references identity_domains (id) on delete cascade,
  sealed text not null,
  key_id text not null
);
