/** Whether a child is able to have what an object of the parent's asks for; refused when it is asked for, with the reason. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { conflict, type Fault } from '../http/fault.ts';
import { abilitiesOf, type Capability, type Refusal } from './ability.ts';

/** What an object asks of the children that it is in. */
export interface Asks {
  readonly qos_policy_id?: string | null | undefined;
  readonly enable_snat?: boolean | undefined;
  /** Whether it is an external network that is made there, and not one that the child has. */
  readonly makes_external?: boolean | undefined;
}

const capabilitiesFor = ({ qos_policy_id, enable_snat, makes_external }: Asks): Capability[] => [
  ...(qos_policy_id == null ? [] : (['qos'] as const)),
  ...(enable_snat === false ? (['gateways_without_snat'] as const) : []),
  ...(makes_external === true ? (['external_networks'] as const) : []),
];

const refused = ({ tenant }: Refusal): Fault => conflict(`${tenant}.`, 'AvailabilityZoneNotAble');

/**
 * No query where nothing is asked that a child may be unable to have.
 * @param children in which the object is, or is about to be; null where it is nowhere yet
 * @throws Fault 409 with the reason, where one of them cannot have it
 */
export async function refuseUnable(query: Queryable, children: readonly (string | null)[], asks: Asks): Promise<void> {
  const names = children.filter((child) => child !== null);
  const [reason] = (await refusalsOf(query, names, [asks])).values();
  if (reason !== undefined) throw refused(reason);
}

/** Why some of all children cannot have what these objects ask, by child; one query, or none. */
export async function unableFor(
  query: Queryable,
  asks: readonly Asks[],
): Promise<{ readonly able: readonly string[] | undefined; readonly refusals: ReadonlyMap<string, Fault> }> {
  if (asks.flatMap(capabilitiesFor).length === 0) return { able: undefined, refusals: new Map() };
  const { rows } = await sql<{ name: string }>`select name from children order by name`.execute(query);
  const names = rows.map(({ name }) => name);
  const reasons = await refusalsOf(query, names, asks);
  if (reasons.size === 0) return { able: undefined, refusals: new Map() };
  return {
    able: names.filter((name) => !reasons.has(name)),
    refusals: new Map([...reasons].map(([name, reason]) => [name, refused(reason)])),
  };
}

async function refusalsOf(
  query: Queryable,
  children: readonly string[],
  asks: readonly Asks[],
): Promise<ReadonlyMap<string, Refusal>> {
  const wanted = [...new Set(asks.flatMap(capabilitiesFor))];
  if (wanted.length === 0 || children.length === 0) return new Map();
  const abilities = await abilitiesOf(query, children);
  return new Map(
    children.flatMap((child) => {
      const reason = wanted.flatMap((capability) => abilities.get(child)?.refusal(capability) ?? [])[0];
      return reason === undefined ? [] : [[child, reason] as const];
    }),
  );
}
