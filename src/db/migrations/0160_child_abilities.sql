-- What each child's networking said of itself when it was last asked (src/network/ability.ts); no row: it never was.
create table child_abilities (
  child    text primary key references children (name) on delete cascade,
  asked_at timestamptz not null default clock_timestamp(),
  facts    jsonb not null
);
