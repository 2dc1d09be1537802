/** `/v2/images/{id}/members`: the projects that an image is shared with. */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import { image as convention } from '../http/conventions.ts';
import { badRequest, conflict, Fault, type Fault as FaultType, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { findVisible, lockVisible, missingPlain, projectOf, targetOf } from './access.ts';
import { type ImageRow, images, rules } from './resource.ts';
import { IMAGE, type ImageCore } from './service.ts';

interface MemberRow {
  readonly image_id: string;
  readonly member_id: string;
  readonly status: string;
  readonly created_at: string;
  readonly updated_at: string;
}

const MEMBERS_MAX = 128;
const ID_MAX_CHARACTERS = 255;
const PATH = '/images/:image_id/members';

const idOf = (call: Call): string => call.params.image_id as string;
const memberOf = (call: Call): string => call.params.member_id as string;

/** The operations on an image's members. */
export function memberOperations(core: ImageCore): Operation[] {
  const { db } = core;
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy: rules.listMembers,
      status: 200,
      summary: 'List the members of an image',
      handle: async ({ context, params }) => {
        const row = await findVisible(db.query, context, params.image_id as string, missingPlain);
        const refusal = (why: string) => forbidden(`Not allowed to list members for image ${row.id}: ${why}`);
        if (row.visibility !== 'shared') throw refusal('Only shared images have members.');
        if (!context.allowed(rules.listMembers.name, targetOf(context, row))) {
          throw refusal('You are not authorized to complete this action.');
        }
        const members = await read(db.query, row.id, ownOnly(context, row));
        return { members: members.map(view), schema: '/v2/schemas/members' };
      },
    }),
    operation<unknown>({
      method: 'POST',
      path: PATH,
      policy: rules.addMember,
      status: 200,
      summary: 'Share an image with a project',
      handle: async (call) => {
        const member_id = memberIn(call.body);
        return db.transaction(async (tx) => {
          const row = await lockShared(tx, call, rules.addMember.name, 'create');
          return view(await add(tx, row.id, member_id));
        });
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:member_id`,
      policy: rules.showMember,
      status: 200,
      summary: 'Show a member of an image',
      handle: async (call) => {
        const row = await findVisible(db.query, call.context, idOf(call), missingPlain);
        if (row.visibility !== 'shared') throw notFound('Only shared images have members.');
        const target = targetOf(call.context, row);
        const own = ownOnly(call.context, row);
        const isForeign = own !== undefined && own !== memberOf(call);
        if (isForeign || !call.context.allowed(rules.showMember.name, target)) throw unknown(call);
        return view(await one(db.query, call));
      },
    }),
    operation<unknown>({
      method: 'PUT',
      path: `${PATH}/:member_id`,
      policy: rules.modifyMember,
      target: async ({ context }) => ({ project_id: projectOf(context), member_id: projectOf(context) }),
      status: 200,
      summary: 'Accept or reject an image that is shared',
      handle: async (call) => {
        const status = statusIn(call.body);
        const changed = await db.transaction(async (tx) => {
          const row = await lockShared(tx, call, rules.modifyMember.name, 'update');
          const own = ownOnly(call.context, row);
          if (own !== undefined && own !== memberOf(call)) throw unknown(call);
          return answer(core, tx, row, await one(tx, call), status);
        });
        core.cascade.poke();
        return view(changed);
      },
    }),
    operation({
      method: 'DELETE',
      path: `${PATH}/:member_id`,
      policy: rules.removeMember,
      status: 204,
      summary: 'Stop sharing an image with a project',
      handle: async (call) => {
        await db.transaction(async (tx) => {
          const row = await lockShared(tx, call, rules.removeMember.name, 'delete');
          await one(tx, call);
          await sql`delete from image_members where image_id = ${row.id} and member_id = ${memberOf(call)}`.execute(tx);
        });
      },
    }),
  ];
}

async function lockShared(tx: Tx, call: Call, rule: string, verb: 'create' | 'update' | 'delete'): Promise<ImageRow> {
  const row = await lockVisible(tx, call.context, idOf(call), missingPlain);
  if (row.visibility !== 'shared' || !call.context.allowed(rule, targetOf(call.context, row))) {
    throw forbidden(`Not allowed to ${verb} members for image ${row.id}.`);
  }
  return row;
}

/** A project that an image is shared with sees its own membership alone; the owner and admins see all (undefined). */
function ownOnly(context: RequestContext, row: ImageRow): string | undefined {
  const project = projectOf(context);
  return context.identity.isAdmin || row.project_id === project ? undefined : project;
}

async function read(query: Queryable, imageId: string, member: string | undefined): Promise<readonly MemberRow[]> {
  const only = member === undefined ? sql`` : sql`and member_id = ${member}`;
  const found = await sql<MemberRow>`select * from image_members where image_id = ${imageId} ${only}
    order by created_at, member_id`.execute(query);
  return found.rows;
}

async function one(query: Queryable, call: Call): Promise<MemberRow> {
  const [found] = await read(query, idOf(call), memberOf(call));
  if (found === undefined) throw unknown(call);
  return found;
}

const unknown = (call: Call): FaultType =>
  notFound(`${memberOf(call)} not found in the member list of the image ${idOf(call)}.`);

/** Under the image's lock, so that the count holds. */
async function add(tx: Tx, image_id: string, member_id: string): Promise<MemberRow> {
  const members = await read(tx, image_id, undefined);
  if (members.some((member) => member.member_id === member_id)) {
    throw conflict(`Member ${member_id} is duplicated for image ${image_id}`);
  }
  if (members.length >= MEMBERS_MAX) {
    throw new Fault(
      413,
      `Image member limit exceeded for image ${image_id}: The limit has been exceeded on the number of allowed image members for this image. Attempted: ${members.length + 1}, Maximum: ${MEMBERS_MAX}:`,
    );
  }
  const made = await sql<MemberRow>`
    insert into image_members (image_id, member_id) values (${image_id}, ${member_id}) returning *`.execute(tx);
  return made.rows[0] as MemberRow;
}

/** What a project answers concerns the copies: those who accept may boot from them. */
async function answer(core: ImageCore, tx: Tx, row: ImageRow, member: MemberRow, status: string): Promise<MemberRow> {
  const changed = await sql<MemberRow>`
    update image_members set status = ${status}, updated_at = clock_timestamp()
    where image_id = ${row.id} and member_id = ${member.member_id} returning *`.execute(tx);
  if (status === 'accepted' && member.status !== 'accepted') {
    await images.update(tx, row.id, { updated_at: row.updated_at });
    await core.cascade.revise(tx, IMAGE, row.id);
  }
  return changed.rows[0] as MemberRow;
}

function memberIn(body: unknown): string {
  if (body === undefined) throw badRequest('Body expected in request.');
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw badRequest('Expected a member in the form: {"member": "image_id"}');
  }
  const { member } = body as { member?: unknown };
  if (member === undefined) throw badRequest('Member to be added not specified');
  if (typeof member !== 'string') throw badRequest('Expected a member in the form: {"member": "image_id"}');
  if (member === '') throw badRequest("Member can't be empty");
  if (member.length > ID_MAX_CHARACTERS) throw badRequest('The id of a project has at most 255 characters.');
  return member;
}

function statusIn(body: unknown): string {
  if (body === undefined) throw badRequest('Body expected in request.');
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw badRequest('Expected a status in the form: {"status": "status"}');
  }
  const { status } = body as { status?: unknown };
  if (status === undefined) throw badRequest('Status not specified');
  if (status !== 'pending' && status !== 'accepted' && status !== 'rejected') {
    throw badRequest('Incorrect request: Status must be "pending", "accepted" or "rejected".');
  }
  return status;
}

const view = ({ member_id, image_id, status, created_at, updated_at }: MemberRow) => ({
  member_id,
  image_id,
  status,
  created_at: convention.timestamp(created_at),
  updated_at: convention.timestamp(updated_at),
  schema: '/v2/schemas/member',
});
