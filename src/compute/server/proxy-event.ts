/** Events that others (a Neutron, a Cinder) tell Nova of, carried on to the Nova of the server's child. */
import type { ChildContext } from '../../cascade/contract.ts';
import { minorAt } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { PendingAction, ServerRow } from './resource.ts';

/** An event as it was told, by the parent's ids. */
export interface EventBody {
  readonly name: string;
  readonly status: string;
  readonly tag?: string;
}

const EVENT_MINOR = 93;
/** Twice: the child hears of it twice, which an event is made for. What the child does not know of is not told. */
export async function tellEvent(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  event: EventBody,
): Promise<undefined> {
  const tag = await childTag(dependencies, context, row, event);
  if (event.tag !== undefined && tag === undefined) return;
  await context.api.call({
    service: 'compute',
    method: 'POST',
    path: '/os-server-external-events',
    microversion: `2.${await minorAt(context, EVENT_MINOR)}`,
    requestId: entry.request_id,
    body: {
      events: [
        {
          server_uuid: row.child_id,
          name: event.name,
          status: event.status,
          ...(tag === undefined ? {} : { tag }),
        },
      ],
    },
  });
}

/** What the event is about, by the child's id: a port or a volume of the server, or a word that is the same everywhere. */
async function childTag(
  { volumes }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  { name, tag }: EventBody,
): Promise<string | undefined> {
  if (tag === undefined) return undefined;
  if (name.startsWith('network-')) return context.childId('port', tag);
  if (!name.startsWith('volume-')) return tag;
  return row.volumes.some(({ id }) => id === tag) ? volumes.childVolume(context, tag) : undefined;
}
