-- Images and who they are shared with. project_id is Glance's owner; columns that sort are never null ('' and -1 are).
create table images (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null default '',
  visibility text not null default 'shared',
  status text not null default 'queued',
  disk_format text not null default '',
  container_format text not null default '',
  size bigint not null default -1,
  checksum text,
  os_hash_value text,
  protected boolean not null default false,
  os_hidden boolean not null default false,
  min_disk integer not null default 0,
  min_ram integer not null default 0,
  tags text[] not null default '{}',
  extra jsonb not null default '{}',            -- custom properties
  stores text[] not null default '{}',          -- where its data is: local, and names of children
  importing text[] not null default '{}',       -- stores that a copy-image import is bringing it to
  failed_import text[] not null default '{}',
  local_file text not null default '',          -- its file in the parent's own store
  upload_claim text not null default '',        -- the upload that is writing it now
  origin_child text not null default ''         -- the child that made it (a server's or volume's image)
);
create index images_project on images (project_id, created_at desc, id desc);
create index images_public on images (visibility, created_at desc, id desc) where visibility in ('public', 'community');
create index images_recent on images (created_at desc, id desc);
create index images_name on images (name);
create index images_tags on images using gin (tags);
create index images_extra on images using gin (extra jsonb_path_ops);
create index images_uploads on images (id) where upload_claim <> '';
create index images_made on images (origin_child) where origin_child <> '' and status in ('queued', 'saving');

create table image_members (
  image_id text not null references images (id) on delete cascade,
  member_id text not null,
  status text not null default 'pending',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (image_id, member_id)
);
create index image_members_member on image_members (member_id, status, image_id);
