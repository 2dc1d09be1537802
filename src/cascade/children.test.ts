import { sql } from 'kysely';
import { beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { createChildren } from './children.ts';
import type { ChildConfig } from './contract.ts';

const db = await testDatabase();
const configs = ['east', 'west'].map((name): ChildConfig => ({ name, zones: { [name]: 'nova' }, tenancy: 'mirrored' }));

beforeEach(() => createChildren(db, configs).configure());

describe('the choice of a child', () => {
  it('goes by zone, enabled proxies, health and room', async () => {
    const children = createChildren(db, configs);
    await sql`update children set up = true`.execute(db.query);
    const schedule = (want: object) => children.schedule(db.query, { binary: 'nova-compute', ...want });
    expect(await schedule({ zone: 'west' })).toEqual({ child: 'west', zone: 'west' });
    expect(await schedule({ zone: 'north' })).toBeUndefined();
    expect(await schedule({ among: ['east'] })).toEqual({ child: 'east', zone: 'east' });
    expect(await schedule({ zone: 'west', among: ['east'] })).toBeUndefined();
    await sql`update children set up = false where name = 'east'`.execute(db.query);
    for (let at = 0; at < 10; at++) expect((await schedule({}))?.child).toBe('west');
    expect(await schedule({ zone: 'east' })).toEqual({ child: 'east', zone: 'east' });
    await db.transaction((tx) =>
      children.setProxy(tx, 'west', 'nova-compute', { enabled: false, disabled_reason: 'work' }),
    );
    expect(await schedule({ zone: 'west' })).toBeUndefined();
    expect((await children.proxies(db.query, 'nova-compute'))[1]).toMatchObject({
      child: 'west',
      enabled: false,
      disabled_reason: 'work',
    });
    await db.transaction((tx) =>
      children.setProxy(tx, 'west', 'nova-compute', { enabled: true, disabled_reason: null }),
    );
    await db.transaction((tx) => children.setZones(tx, 'west', { north: '' }));
    expect(await schedule({ zone: 'north' })).toEqual({ child: 'west', zone: 'north' });
    expect(children.childZone('west', 'north')).toBe('nova');
    expect((await children.zones(db.query)).map((zone) => zone.name)).toEqual(['east', 'north']);
    await db.transaction((tx) => children.setZones(tx, 'west', null));
  });

  it('prefers the default zone for what names none, as far as the rest leaves it', async () => {
    const children = createChildren(db, configs, { default_zone: 'east' });
    await sql`update children set up = true`.execute(db.query);
    const schedule = (want: object) => children.schedule(db.query, { binary: 'nova-compute', ...want });
    for (let at = 0; at < 10; at++) expect(await schedule({})).toEqual({ child: 'east', zone: 'east' });
    expect(await schedule({ zone: 'west' })).toEqual({ child: 'west', zone: 'west' });
    expect(await schedule({ among: ['west'] })).toEqual({ child: 'west', zone: 'west' });
    expect(await schedule({ exclude: ['east'] })).toEqual({ child: 'west', zone: 'west' });
    await db.transaction((tx) => children.setZones(tx, 'east', { first: 'nova', east: 'nova' }));
    expect(await schedule({})).toEqual({ child: 'east', zone: 'east' });
    await db.transaction((tx) => children.setZones(tx, 'west', { first: 'nova' }));
    const places = new Set<string | undefined>();
    for (let at = 0; at < 50; at++) places.add((await schedule({ zone: 'first' }))?.child);
    expect([...places].sort()).toEqual(['east', 'west']);
    await db.transaction((tx) => children.setZones(tx, 'west', null));
    await db.transaction((tx) => children.setZones(tx, 'east', { moved: '' }));
    for (let at = 0; at < 10; at++) expect(await schedule({})).toEqual({ child: 'east', zone: 'moved' });
    await db.transaction((tx) => children.setZones(tx, 'east', null));
    // A child that does not answer for a moment does not scatter what is made meanwhile; one that is disabled does.
    await sql`update children set up = false where name = 'east'`.execute(db.query);
    for (let at = 0; at < 10; at++) expect(await schedule({})).toEqual({ child: 'east', zone: 'east' });
    const setEnabled = (enabled: boolean) =>
      db.transaction((tx) => children.setProxy(tx, 'east', 'nova-compute', { enabled, disabled_reason: null }));
    await setEnabled(false);
    expect(await schedule({})).toEqual({ child: 'west', zone: 'west' });
    await setEnabled(true);
  });
});
