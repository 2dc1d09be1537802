-- What servers that moved to another child, or could not, left behind in a child and is still to be deleted there. It
-- outlives the server's own row where that is deleted meanwhile.
create table server_leavings (
  child          text not null,
  server_id      text not null,
  project_id     text not null,
  child_id       text,                          -- null: not known; found by the server's mark where there is any
  create_sent_at timestamptz,                   -- a create was sent then, which may still take effect
  delete_sent_at timestamptz,
  ports          text[] not null default '{}',  -- whose copies there go when the server is gone
  primary key (child, server_id)
);
