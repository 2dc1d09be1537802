/** Simulated Keystone's tokens: who may have one, for what, and the catalog in it. */
import { type Call, type Reply, section } from './http.ts';
import {
  type Json,
  newHexId,
  type Project,
  randomText,
  type Row,
  rowOf,
  SimFault,
  textOf,
  textsOf,
  type Token,
  type User,
  type World,
} from './world.ts';

const token_life_ms = 24 * 3600 * 1000;
const tokens_kept = 5000;
const denied = (): SimFault => new SimFault(401, 'The request you have made requires authentication.');
export const notFound = (what: string, id: string): SimFault => new SimFault(404, `Could not find ${what}: ${id}.`);
const time = (at_ms: number): string => `${new Date(at_ms).toISOString().slice(0, 19)}.000000Z`;

/** Fills the stores with what `keystone-manage bootstrap` makes. Returns the cloud administrator and its project. */
export function seedIdentity(world: World, password: string): { admin: User; project: Project } {
  const { state } = world;
  state.domains.set('default', { id: 'default', name: 'Default', description: 'The default domain', enabled: true });
  for (const name of ['admin', 'member', 'reader']) state.roles.set(newHexId(), name);
  const [project] = ['admin', 'service'].map((name) => {
    const made = { id: newHexId(), name, domain_id: 'default', description: '', enabled: true };
    state.projects.set(made.id, made);
    return made;
  });
  if (project === undefined) throw new Error('no project was made');
  const admin = { id: newHexId(), name: 'admin', domain_id: 'default', password, enabled: true };
  state.users.set(admin.id, admin);
  for (const role of state.roles.keys()) state.assignments.add(`${project.id}/${admin.id}/${role}`);
  return { admin, project };
}

export function catalog(world: World, projectId: string): Json {
  const services: [string, string, string][] = [
    ['identity', 'keystone', '/identity/v3'],
    ['compute', 'nova', '/compute/v2.1'],
    ['network', 'neutron', '/network'],
    ['volumev3', 'cinderv3', `/volume/v3/${projectId}`],
    ['image', 'glance', '/image'],
  ];
  return services.map(([type, name, path]) => ({
    id: `${type}-service`,
    type,
    name,
    endpoints: ['public', 'internal', 'admin'].map((kind) => ({
      id: `${type}-${kind}`,
      interface: kind,
      region: world.region,
      region_id: world.region,
      url: world.root() + path,
    })),
  }));
}

function domainRef(world: World, id: string): Row {
  return { id, name: world.state.domains.get(id)?.['name'] ?? id };
}

export function rolesOf(world: World, userId: string, projectId: string): [string, string][] {
  return [...world.state.roles].filter(([id]) => world.state.assignments.has(`${projectId}/${userId}/${id}`));
}

export function renderToken(world: World, token: Token, withCatalog = true): Row {
  const rendered: Row = {
    methods: [...token.methods],
    user: {
      id: token.user.id,
      name: token.user.name,
      domain: domainRef(world, token.user.domain_id),
      password_expires_at: null,
    },
    audit_ids: [token.auditId],
    issued_at: time(token.issuedAt_ms),
    expires_at: time(token.expiresAt_ms),
  };
  if (token.project !== undefined) {
    const { id, name, domain_id } = token.project;
    rendered['project'] = { id, name, domain: domainRef(world, domain_id) };
    rendered['is_domain'] = false;
  }
  if (token.domainId !== undefined) rendered['domain'] = domainRef(world, token.domainId);
  if (token.roles.length > 0) {
    const scoped =
      token.project === undefined ? [...world.state.roles] : rolesOf(world, token.user.id, token.project.id);
    rendered['roles'] = scoped.filter(([, name]) => token.roles.includes(name)).map(([id, name]) => ({ id, name }));
    if (withCatalog) rendered['catalog'] = catalog(world, token.project?.id ?? '');
  }
  return rendered;
}

function sameDomain(world: World, domain: Row, domainId: string): boolean {
  if (textOf(domain['id']) !== '') return domain['id'] === domainId;
  return world.state.domains.get(domainId)?.['name'] === domain['name'];
}

function userByPassword(world: World, given: Row): User {
  const user = [...world.state.users.values()].find((one) =>
    textOf(given['id']) === ''
      ? one.name === given['name'] && sameDomain(world, rowOf(given['domain']), one.domain_id)
      : one.id === given['id'],
  );
  if (user === undefined || !user.enabled || user.password !== given['password']) throw denied();
  return user;
}

export function issue(world: World, call: Call): Reply {
  const auth = section(call, 'auth');
  const identity = rowOf(auth['identity']);
  const methods = textsOf(identity['methods']);
  let user: User;
  let parent: Token | undefined;
  if (methods.includes('token')) {
    parent = world.state.tokens.get(textOf(rowOf(identity['token'])['id']));
    if (parent === undefined || parent.expiresAt_ms < Date.now()) throw denied();
    user = parent.user;
  } else if (methods.includes('password')) {
    user = userByPassword(world, rowOf(rowOf(identity['password'])['user']));
  } else {
    throw new SimFault(400, 'Expecting to find methods in identity. The server could not comply with the request.');
  }
  const scope = rowOf(auth['scope']);
  let project: Project | undefined;
  let domainId: string | undefined;
  let roles: string[] = [];
  if (scope['project'] !== undefined) {
    const wanted = rowOf(scope['project']);
    project = [...world.state.projects.values()].find((one) =>
      textOf(wanted['id']) === ''
        ? one.name === wanted['name'] && sameDomain(world, rowOf(wanted['domain']), one.domain_id)
        : one.id === wanted['id'],
    );
    if (project === undefined || !project.enabled) throw denied();
    roles = rolesOf(world, user.id, project.id).map(([, name]) => name);
    // As Keystone does: no role on the project, no token for it.
    if (roles.length === 0) throw denied();
  } else if (scope['domain'] !== undefined) {
    const wanted = rowOf(scope['domain']);
    domainId = [...world.state.domains.keys()].find((id) => sameDomain(world, wanted, id));
    if (domainId === undefined || user.name !== 'admin') throw denied();
    roles = ['admin'];
  }
  const issuedAt_ms = Date.now();
  const token: Token = {
    id: `gAAAAA${randomText(90)}`,
    user,
    project,
    domainId,
    roles,
    issuedAt_ms,
    expiresAt_ms: parent?.expiresAt_ms ?? issuedAt_ms + token_life_ms,
    auditId: randomText(16),
    methods: parent === undefined ? ['password'] : ['token', 'password'],
  };
  world.state.tokens.set(token.id, token);
  if (world.state.tokens.size > tokens_kept) {
    for (const oldest of world.state.tokens.keys()) {
      world.state.tokens.delete(oldest);
      break;
    }
  }
  return { status: 201, body: { token: renderToken(world, token) }, headers: { 'x-subject-token': token.id } };
}

export function subjectOf(world: World, call: Call): Token {
  const token = world.state.tokens.get(String(call.headers['x-subject-token'] ?? ''));
  if (token === undefined || token.expiresAt_ms < Date.now()) {
    throw new SimFault(404, 'Could not find token.');
  }
  return token;
}
