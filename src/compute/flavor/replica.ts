/**
 * Flavors in children. A copy has the parent's id; its description begins with our mark where the child is new enough
 * to have one. Nova never changes a flavor's sizes, so a copy that differs is made anew if it is ours. One that somebody
 * else made under the same id is used where its sizes fit, and left alone where not: ours then has an id beside it.
 * Where tenants share a project in the child, none is made: one of the child's own of the same sizes serves. Whatever is
 * not ours is its operator's to change or take away: it is looked at before each use, and another one matched then.
 */
import type { ChildContext, Found, Replica, ReplicaKind } from '../../cascade/contract.ts';
import { CloudError } from '../../openstack/contract.ts';
import { type Flavor, flavorStore } from './flavor.ts';

interface ChildFlavor {
  readonly id: string;
  readonly name: string;
  readonly ram: number;
  readonly vcpus: number;
  readonly disk: number;
  readonly swap: number | string;
  readonly 'OS-FLV-EXT-DATA:ephemeral'?: number;
  readonly description?: string | null;
  readonly extra_specs?: Readonly<Record<string, string>>;
}

const MARK = 'Headwater';
/** 2.55 has descriptions, 2.61 extra specs within the flavor. */
const VERSION = { microversion: '2.61', atMost: true } as const;

const isOurs = (flavor: ChildFlavor): boolean => flavor.description?.startsWith(MARK) === true;
const besideId = (id: string): string => `${id.slice(0, 245)}-headwater`;

function sizesFit(flavor: ChildFlavor, row: Flavor): boolean {
  return (
    flavor.ram === row.ram &&
    flavor.vcpus === row.vcpus &&
    flavor.disk === row.disk &&
    Number(flavor.swap) === row.swap &&
    (flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0) === row.ephemeral
  );
}

/** Whether it has all extra specs that the row has. */
const specsFit = ({ extra_specs = {} }: ChildFlavor, row: Flavor): boolean =>
  Object.entries(row.extra_specs).every(([key, value]) => extra_specs[key] === value);

/** Whether a flavor that is not ours may be used. One that has the id of ours was meant to be it, specs and all. */
const serves = (flavor: ChildFlavor, row: Flavor, tenancy: ChildContext['tenancy']): boolean =>
  sizesFit(flavor, row) && ((tenancy !== 'shared' && flavor.id === row.id) || specsFit(flavor, row));

async function read({ api }: ChildContext, id: string): Promise<ChildFlavor | undefined> {
  const { status, body } = await api.call<{ flavor: ChildFlavor }>({
    service: 'compute',
    method: 'GET',
    path: `/flavors/${encodeURIComponent(id)}`,
    accept: [404],
    ...VERSION,
  });
  return status === 404 ? undefined : body.flavor;
}

const foundAs = (flavor: ChildFlavor, foreign: boolean, current: boolean): Found => ({
  child_id: flavor.id,
  detail: { foreign },
  current,
});

/** The copy under the parent's id, or the one beside it; one that must not be used is no copy. */
async function find(context: ChildContext, id: string, row: Flavor | undefined): Promise<Found | undefined> {
  // Looked for anew each time: what the child offers is its operator's to change.
  if (context.tenancy === 'shared') return undefined;
  const there = await read(context, id);
  if (there !== undefined) {
    // Ours but of other sizes: `bring` makes it anew.
    if (isOurs(there)) return foundAs(there, false, false);
    if (row !== undefined && sizesFit(there, row)) return foundAs(there, true, true);
  }
  const beside = there === undefined ? undefined : await read(context, besideId(id));
  return beside === undefined ? undefined : foundAs(beside, false, false);
}

/** Makes it; `bring` sets its extra specs. Twice: a 409, after which it is found. */
async function make(context: ChildContext, row: Flavor): Promise<Found> {
  if (context.tenancy === 'shared') return matching(context, row);
  const made = (id: string): Found => ({
    child_id: id,
    detail: { foreign: false },
    current: Object.keys(row.extra_specs).length === 0,
  });
  try {
    const clash = await postUnlessTaken(context, row, row.id);
    if (clash === undefined) return made(row.id);
    if (isOurs(clash.flavor) || sizesFit(clash.flavor, row)) throw clash.error;
    const beside = await postUnlessTaken(context, row, besideId(row.id));
    if (beside === undefined) return made(besideId(row.id));
    throw beside.error;
  } catch (error) {
    if (error instanceof CloudError && error.status === 403) return matching(context, row);
    throw error;
  }
}

/** Makes a flavor of this id; gives the one that has the id already, and the child's 409. */
async function postUnlessTaken(context: ChildContext, row: Flavor, id: string) {
  try {
    await post(context, row, id, row.name);
  } catch (error) {
    if (!(error instanceof CloudError) || error.status !== 409) throw error;
    const flavor = await read(context, id);
    if (flavor !== undefined) return { flavor, error };
    // Only the name is taken, by somebody else's flavor; nothing goes by it.
    await post(context, row, id, `headwater-${id}`.slice(0, 255));
  }
  return undefined;
}

async function post({ api }: ChildContext, row: Flavor, id: string, name: string): Promise<void> {
  const highest = await api.maximumMicroversion('compute');
  const describes = highest !== undefined && Number(highest.split('.')[1]) >= 55;
  await api.call({
    service: 'compute',
    method: 'POST',
    path: '/flavors',
    ...VERSION,
    body: {
      flavor: {
        id,
        name,
        ram: row.ram,
        vcpus: row.vcpus,
        disk: row.disk,
        swap: row.swap,
        rxtx_factor: row.rxtx_factor,
        'OS-FLV-EXT-DATA:ephemeral': row.ephemeral,
        'os-flavor-access:is_public': row.is_public,
        ...(describes ? { description: `${MARK}: ${row.name}` } : {}),
      },
    },
  });
}

/**
 * One of the child's own flavors of the same sizes, with all extra specs that the row has: the one with fewest others,
 * of those the one of the same name.
 * @throws CloudError where there is none, in words for the tenant
 */
async function matching({ api, child }: ChildContext, row: Flavor): Promise<Found> {
  const call = { service: 'compute', method: 'GET', path: '/flavors/detail', ...VERSION } as const;
  const fitting: ChildFlavor[] = [];
  for await (const page of api.pages<ChildFlavor>(call, 'flavors')) {
    fitting.push(...page.filter((flavor) => sizesFit(flavor, row)));
  }
  const alike = fitting.filter((flavor) => specsFit(flavor, row));
  const rank = ({ name, extra_specs = {} }: ChildFlavor): number =>
    Object.keys(extra_specs).length * 2 + (name === row.name ? 0 : 1);
  const [chosen] = alike.toSorted((one, other) => rank(one) - rank(other) || (one.id < other.id ? -1 : 1));
  if (chosen === undefined) throw noneFits(child, row, fitting.length > 0);
  return foundAs(chosen, true, true);
}

function noneFits(child: string, row: Flavor, isOfSize: boolean): CloudError {
  const more = [
    ...(row.ephemeral > 0 ? [`${row.ephemeral} GB of ephemeral disk`] : []),
    ...(row.swap > 0 ? [`${row.swap} MB of swap`] : []),
  ];
  const sizes = [`${row.vcpus} vCPUs`, `${row.ram} MB of memory`, `${row.disk} GB of disk`, ...more].join(', ');
  const lacks = isOfSize ? `with the extra specs of flavor ${row.name}` : `of the sizes of flavor ${row.name}`;
  return new CloudError(`${child} has no flavor ${lacks} (${sizes}), and none may be made there`, {
    failure: 'refused',
    stage: 'answer',
    status: 404,
    tenantMessage: `The availability zone has no flavor ${lacks} (${sizes}).`,
    transient: false,
  });
}

/**
 * Brings extra specs to the row, and sizes by making it anew. Twice: nothing changes.
 * @throws CloudError 404 for one that is not ours and does not serve any more: another is looked for then
 */
async function bring(context: ChildContext, row: Flavor, replica: Replica): Promise<void> {
  const childId = replica.child_id as string;
  let there = await read(context, childId);
  if (replica.detail.foreign === true) {
    if (there === undefined || !serves(there, row, context.tenancy)) throw servesNoMore();
    return;
  }
  if (there !== undefined && !sizesFit(there, row)) {
    await removeFlavor(context, childId);
    there = undefined;
  }
  if (there === undefined) {
    const clash = await postUnlessTaken(context, row, childId);
    if (clash !== undefined) throw clash.error;
  }
  await bringSpecs(context, childId, row.extra_specs);
}

async function bringSpecs({ api }: ChildContext, childId: string, wanted: Flavor['extra_specs']): Promise<void> {
  const path = `/flavors/${encodeURIComponent(childId)}/os-extra_specs`;
  const { body } = await api.call<{ extra_specs: Record<string, string> }>({ service: 'compute', method: 'GET', path });
  const now = body.extra_specs;
  const changed = Object.entries(wanted).filter(([key, value]) => now[key] !== value);
  if (changed.length > 0) {
    await api.call({ service: 'compute', method: 'POST', path, body: { extra_specs: Object.fromEntries(changed) } });
  }
  for (const key of Object.keys(now).filter((name) => !Object.hasOwn(wanted, name))) {
    await api.call({
      service: 'compute',
      method: 'DELETE',
      path: `${path}/${encodeURIComponent(key)}`,
      accept: [404],
    });
  }
}

async function removeFlavor({ api }: ChildContext, childId: string): Promise<void> {
  await api.call({
    service: 'compute',
    method: 'DELETE',
    path: `/flavors/${encodeURIComponent(childId)}`,
    accept: [404],
  });
}

const servesNoMore = (): CloudError =>
  new CloudError('a flavor that is not ours was changed or taken away in the child', {
    failure: 'refused',
    stage: 'answer',
    status: 404,
    tenantMessage: 'The availability zone has no such flavor any more.',
    transient: false,
  });

/** How children hold flavors. */
export const flavorKind: ReplicaKind<Flavor> = {
  kind: 'flavor',
  table: 'flavors',
  unique: true,
  load: (query, id) => flavorStore.find(query, id),
  find,
  make,
  bring,
  async serves(context, row, replica) {
    if (replica.detail.foreign !== true) return true;
    const there = await read(context, replica.child_id ?? '');
    return there !== undefined && serves(there, row, context.tenancy);
  },
  /** A flavor that we did not make stays. Twice: a 404, which is as well. */
  async remove(context, replica) {
    if (replica.detail.foreign !== true) await removeFlavor(context, replica.child_id);
  },
};
