/** Fills a parent's database with servers, as many as asked for, in projects of ten thousand. */
import { sql } from 'kysely';
import type { Db } from '../src/db/database.ts';

const PROJECT_SIZE = 10_000;

/**
 * Adds servers that look like booted ones, of a child that is not driven (so that no feed looks for them). The first
 * project is the given one; the rest have made-up ids.
 * @returns ids of some servers of the given project
 */
export async function seedServers(db: Db, count: number, projectId: string): Promise<string[]> {
  const have = await sql<{ count: number }>`select count(*)::int as count from servers where child = 'archive'`.execute(
    db.query,
  );
  const missing = count - (have.rows[0]?.count ?? 0);
  const batch = 50_000;
  for (let done = 0; done < missing; done += batch) {
    await insert(db, Math.min(batch, missing - done), done, projectId);
  }
  // A folder kept from another run may know copies in clouds that are not there any more.
  await sql`truncate replicas, work, cursors`.execute(db.query);
  await sql`analyze servers`.execute(db.query);
  const ids = await sql<{ id: string }>`
    select id from servers where project_id = ${projectId} and child = 'archive' order by created_at desc, id desc limit 1000`.execute(
    db.query,
  );
  return ids.rows.map((row) => row.id);
}

async function insert(db: Db, count: number, offset: number, projectId: string): Promise<void> {
  await sql`
    insert into servers (id, project_id, user_id, name, hostname, status, vm_state, power_state, child, child_id, zone,
                         flavor_id, image_id, key_name, created_at, updated_at, launched_at, ips, body)
    select gen_random_uuid()::text,
           case when n < ${PROJECT_SIZE} then ${projectId} else 'project-' || (n / ${PROJECT_SIZE}) end,
           'user-' || (n / ${PROJECT_SIZE}), 'server-' || n, 'server-' || n, 'ACTIVE', 'active', 1, 'archive',
           gen_random_uuid()::text, 'east', '1', 'image-' || (n % 100), 'key',
           now() - (n || ' seconds')::interval, now() - (n || ' seconds')::interval, now() - (n || ' seconds')::interval,
           array[host('10.0.0.0'::inet + (n % 60000))],
           jsonb_build_object(
             'metadata', jsonb_build_object('role', 'web', 'number', n::text),
             'flavor_copy', jsonb_build_object('id', '1', 'name', 'm1.tiny', 'vcpus', 1, 'ram', 512, 'disk', 1,
                                               'ephemeral', 0, 'swap', 0, 'extra_specs', '{}'::jsonb),
             'address_list', jsonb_build_object('net', jsonb_build_array(jsonb_build_object(
               'version', 4, 'addr', host('10.0.0.0'::inet + (n % 60000)), 'OS-EXT-IPS:type', 'fixed',
               'OS-EXT-IPS-MAC:mac_addr', 'fa:16:3e:00:00:01'))),
             'groups', jsonb_build_array('default'), 'root_device_name', '/dev/vda', 'description', repeat('d', 200))
    from generate_series(${offset}::int, ${offset + count - 1}::int) as n`.execute(db.query);
}
