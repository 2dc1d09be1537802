/** Tags, actions, what the service says of itself, and the task list, which is always empty here. */
import { badRequest, Fault, notFound } from '../http/fault.ts';
import { type Operation, operation, type RequestContext } from '../http/service.ts';
import { enforce, findVisible, lockVisible, missingPlain } from './access.ts';
import { checkAttributes, TAGS_MAX } from './patch.ts';
import { type ImageRow, images, LOCAL_STORE, rules } from './resource.ts';
import { type ImageCore, IMPORT_METHODS } from './service.ts';

const TAG_PATH = '/images/:image_id/tags/:tag';

/** The operations beside images, data and members. */
export function extraOperations(core: ImageCore): Operation[] {
  return [...tagOperations(core), ...actionOperations(core), ...infoOperations(core), ...taskOperations(core)];
}

function tagOperations(core: ImageCore): Operation[] {
  const change = (context: RequestContext, id: string, next: (tags: readonly string[]) => string[]) =>
    core.db.transaction(async (tx) => {
      const row = await lockVisible(tx, context, id, missingPlain);
      enforce(context, rules.modify.name, row);
      await images.update(tx, id, { tags: next(row.tags) }, { revise: false });
    });
  return [
    operation({
      method: 'PUT',
      path: TAG_PATH,
      policy: rules.modify,
      status: 204,
      summary: 'Add a tag to an image',
      handle: async ({ context, params }) => {
        const { image_id: id = '', tag = '' } = params;
        checkAttributes({ tags: [tag] });
        await change(context, id, (tags) => {
          if (tags.includes(tag)) return [...tags];
          if (tags.length < TAGS_MAX) return [...tags, tag];
          throw new Fault(
            413,
            `Image tag limit exceeded for image ${id}: The limit has been exceeded on the number of allowed image tags. Attempted: ${tags.length + 1}, Maximum: ${TAGS_MAX}:`,
          );
        });
      },
    }),
    operation({
      method: 'DELETE',
      path: TAG_PATH,
      policy: rules.modify,
      status: 204,
      summary: 'Remove a tag of an image',
      handle: async ({ context, params }) => {
        const { image_id: id = '', tag = '' } = params;
        await change(context, id, (tags) => {
          if (!tags.includes(tag)) throw notFound('The resource could not be found.');
          return tags.filter((other) => other !== tag);
        });
      },
    }),
  ];
}

function actionOperations(core: ImageCore): Operation[] {
  const action = (
    name: 'deactivate' | 'reactivate',
    summary: string,
    from: ImageRow['status'],
    to: ImageRow['status'],
  ) =>
    operation({
      method: 'POST',
      path: `/images/:image_id/actions/${name}`,
      policy: rules[name],
      status: 204,
      summary,
      handle: ({ context, params }) =>
        core.db.transaction(async (tx) => {
          const row = await lockVisible(tx, context, params.image_id as string);
          enforce(context, rules[name].name, row);
          if (row.status === to) return;
          if (row.status !== from) throw forbiddenTransition(row.status, to);
          await images.update(tx, row.id, { status: to }, { revise: false });
        }),
    });
  return [
    action('deactivate', 'Keep the data of an image from being used', 'active', 'deactivated'),
    action('reactivate', 'Let the data of an image be used again', 'deactivated', 'active'),
  ];
}

const forbiddenTransition = (from: string, to: string): Fault =>
  new Fault(403, `Not allowed to ${to === 'active' ? 'reactivate' : 'deactivate'} image in status '${from}'`);

function infoOperations(core: ImageCore): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/info/import',
      policy: rules.anyone,
      status: 200,
      summary: 'Show the import methods',
      handle: async () => ({
        'import-methods': { description: 'Import methods available.', type: 'array', value: IMPORT_METHODS },
      }),
    }),
    operation({
      method: 'GET',
      path: '/info/stores',
      policy: rules.anyone,
      status: 200,
      summary: 'List the stores: the own one, and one for each child',
      handle: async () => ({
        stores: [
          { id: LOCAL_STORE, description: 'Where uploads go', default: 'true' },
          ...(await core.cascade.children(core.db.query)).map(({ name, zones }) => ({
            id: name,
            description: `Availability zones ${Object.keys(zones).toSorted().join(', ')}`,
          })),
        ],
      }),
    }),
  ];
}

function taskOperations(core: ImageCore): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/tasks',
      policy: rules.tasks,
      status: 200,
      summary: 'List tasks: there are none, imports are done without',
      handle: async () => ({ tasks: [], first: '/v2/tasks', schema: '/v2/schemas/tasks' }),
    }),
    operation({
      method: 'GET',
      path: '/tasks/:task_id',
      policy: rules.tasks,
      status: 200,
      summary: 'Show a task',
      handle: async ({ params }) => {
        throw notFound(`Failed to find task ${params.task_id} to show`);
      },
    }),
    operation({
      method: 'POST',
      path: '/tasks',
      policy: rules.tasks,
      status: 201,
      summary: 'Create a task: refused, as the calls on images do what tasks did',
      handle: async () => {
        throw badRequest('Tasks cannot be created here: use the import call of images.');
      },
    }),
    operation({
      method: 'GET',
      path: '/images/:image_id/tasks',
      policy: rules.show,
      status: 200,
      summary: 'List the tasks of an image',
      handle: async ({ context, params }) => {
        await findVisible(core.db.query, context, params.image_id as string, () =>
          notFound('The resource could not be found.'),
        );
        return { tasks: [] };
      },
    }),
  ];
}
