/** Simulated Keystone: regions, services and endpoints as administrators register them. Tokens show the cloud's own catalog alone. */
import { type Call, type Reply, route, type RouteOptions, type Service } from './http.ts';
import { type Json, newHexId, type Row, rowOf, SimFault, textOf } from './world.ts';

interface Collection {
  readonly plural: string;
  readonly singular: string;
  readonly rows: Map<string, Row>;
  readonly filters: readonly string[];
  readonly policy: string;
}

/** Adds them; what is registered is forgotten with the process. */
export function addCatalog(service: Service): void {
  const collections: Collection[] = [
    { plural: 'regions', singular: 'region', rows: new Map(), filters: [], policy: 'create_region' },
    { plural: 'services', singular: 'service', rows: new Map(), filters: ['type', 'name'], policy: 'create_service' },
    {
      plural: 'endpoints',
      singular: 'endpoint',
      rows: new Map(),
      filters: ['service_id', 'region_id', 'interface'],
      policy: 'create_endpoint',
    },
  ];
  for (const one of collections) addCollection(service, one);
}

function addCollection(service: Service, { plural, singular, rows, filters, policy: name }: Collection): void {
  const policy: RouteOptions = { policy: `identity:${name}` };
  const get = ({ params }: Call): Row => {
    const found = rows.get(params['id'] ?? '');
    if (found === undefined) throw new SimFault(404, `Could not find ${singular}: ${params['id'] ?? ''}.`);
    return found;
  };
  const answer = (status: number, row: Row): Reply => ({ status, body: { [singular]: row } });
  const given = ({ body }: Call): Row => rowOf(rowOf(body)[singular]);
  route(service, 'GET', `/${plural}`, ({ query }) => {
    const fits = (row: Row): boolean => filters.every((key) => !query.has(key) || row[key] === query.get(key));
    return { status: 200, body: { [plural]: [...rows.values()].filter(fits) as Json } };
  });
  route(service, 'GET', `/${plural}/:id`, (call) => answer(200, get(call)));
  route(
    service,
    'POST',
    `/${plural}`,
    (call) => {
      const id = textOf(given(call)['id']) || newHexId();
      if (rows.has(id))
        throw new SimFault(409, `Conflict occurred attempting to store ${singular} - Duplicate ID, ${id}.`);
      const row: Row = { enabled: true, ...given(call), id };
      rows.set(id, row);
      return answer(201, row);
    },
    policy,
  );
  route(service, 'PATCH', `/${plural}/:id`, (call) => answer(200, Object.assign(get(call), given(call))), policy);
  route(
    service,
    'DELETE',
    `/${plural}/:id`,
    (call) => {
      rows.delete(textOf(get(call)['id']));
      return { status: 204 };
    },
    policy,
  );
}
