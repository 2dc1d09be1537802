-- Usage over a time is asked for deleted servers too, by project and in the order of their ids.
create index servers_usage on servers (project_id, id) where launched_at is not null;
