/**
 * A domain's own settings, as Keystone's clients keep them. They are kept and shown; Headwater has no LDAP behind a domain
 * and acts on none of them.
 */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply } from '../http/service.ts';
import { type Core, holdDomain, missing } from './core.ts';
import { DEFAULTS, SENSITIVE } from './domain-config-options.ts';
import { admin, ANYBODY, systemReader } from './rules.ts';
import { openSealed, seal } from './sealed.ts';

type Value = string | number | boolean | null | unknown[];
type Config = Record<string, Record<string, Value>>;

const CONFIG_MAX_CHARACTERS = 65_536;
const Body = Type.Object({
  config: Type.Record(Type.String({ maxLength: 255 }), Type.Unknown(), { maxProperties: 64 }),
});
type ConfigBody = Static<typeof Body>;

const invalid = (reason: string) => forbidden(`Invalid domain specific configuration: ${reason}.`);

export function domainConfigOperations(core: Core): Operation[] {
  return [...settings(core), ...compliance(), ...defaults()];
}

/** `/config`, `/config/{group}` and `/config/{group}/{option}` of a domain. */
function settings(core: Core): Operation[] {
  const path = '/domains/:domain_id/config';
  const depths = [path, `${path}/:group`, `${path}/:group/:option`];
  const what = ['the settings', 'a group of settings', 'a setting'];
  const create = operation<ConfigBody>({
    method: 'PUT',
    path,
    policy: admin('create_domain_config'),
    status: 201,
    summary: 'Set the settings of a domain',
    body: Body,
    handle: async ({ params, body }) => {
      const domainId = params.domain_id as string;
      const config = checked(body.config);
      const before = await change(core, domainId, () => config);
      return new Reply(before === undefined ? 201 : 200, { config: withoutSecrets(config) });
    },
  });
  return [
    create,
    ...depths.flatMap((each, at) => [
      operation({
        method: 'GET',
        path: each,
        policy: systemReader('get_domain_config'),
        status: 200,
        summary: `Show ${what[at]} of a domain`,
        handle: async ({ params }) => {
          const { domain_id: domainId = '', group, option } = params;
          requireKnown(group, option);
          const found = withoutSecrets((await read(core, core.db.query, domainId)) ?? {});
          return { config: part(domainId, found, group, option) };
        },
      }),
      operation<ConfigBody>({
        method: 'PATCH',
        path: each,
        policy: admin('update_domain_config'),
        status: 200,
        summary: `Change ${what[at]} of a domain`,
        body: Body,
        handle: async ({ params, body }) => {
          const { domain_id: domainId = '', group, option } = params;
          // An option is given without the group that the path names already.
          const given = checked(group !== undefined && option !== undefined ? { [group]: body.config } : body.config);
          requireKnown(group, option);
          requireOnly(given, group, option);
          let after: Config = {};
          await change(core, domainId, (before = {}) => {
            if (group !== undefined) part(domainId, before, group, option);
            after = { ...before };
            for (const [name, options] of Object.entries(given)) after[name] = { ...after[name], ...options };
            return after;
          });
          return { config: withoutSecrets(after) };
        },
      }),
      operation({
        method: 'DELETE',
        path: each,
        policy: admin('delete_domain_config'),
        status: 204,
        summary: `Remove ${what[at]} of a domain`,
        handle: async ({ params }) => {
          const { domain_id: domainId = '', group, option } = params;
          requireKnown(group, option);
          await change(core, domainId, (before = {}) => {
            if (group === undefined) return {};
            part(domainId, before, group, option);
            const { [group]: options = {}, ...others } = before;
            if (option === undefined) return others;
            const { [option]: _gone, ...kept } = options;
            return Object.keys(kept).length === 0 ? others : { ...others, [group]: kept };
          });
        },
      }),
    ]),
  ];
}

/** What a password must look like, which everybody may ask: anything goes. */
function compliance(): Operation[] {
  const options: Readonly<Record<string, null>> = { password_regex: null, password_regex_description: null };
  const path = '/domains/:domain_id/config/security_compliance';
  const policy = ANYBODY('get_security_compliance_domain_config');
  const requireDefault = ({ params }: Call<undefined>): void => {
    if (params.domain_id !== 'default') {
      throw invalid(
        'Reading security compliance information for any domain other than the default domain is not allowed or supported.',
      );
    }
  };
  return [
    operation({
      method: 'GET',
      path,
      policy,
      status: 200,
      summary: 'Show what passwords must look like',
      handle: async (call) => {
        requireDefault(call);
        return { config: { security_compliance: options } };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:password_option`,
      policy,
      status: 200,
      summary: 'Show one of the rules for passwords',
      handle: async (call) => {
        requireDefault(call);
        const option = call.params.password_option as string;
        if (!Object.hasOwn(options, option)) {
          throw invalid(
            'Reading security compliance values other than password_regex and password_regex_description is not allowed.',
          );
        }
        return { config: { [option]: options[option] } };
      },
    }),
  ];
}

function defaults(): Operation[] {
  const policy = systemReader('get_domain_config_default');
  return [
    operation({
      method: 'GET',
      path: '/domains/config/default',
      policy,
      status: 200,
      summary: 'Show the default settings of domains',
      handle: async () => ({ config: DEFAULTS }),
    }),
    operation({
      method: 'GET',
      path: '/domains/config/:group/default',
      policy,
      status: 200,
      summary: 'Show a group of default settings',
      handle: async ({ params: { group = '' } }) => {
        requireKnown(group, undefined);
        return { config: { [group]: DEFAULTS[group] } };
      },
    }),
    operation({
      method: 'GET',
      path: '/domains/config/:group/:option/default',
      policy,
      status: 200,
      summary: 'Show a default setting',
      handle: async ({ params: { group = '', option = '' } }) => {
        requireKnown(group, option);
        return { config: { [option]: DEFAULTS[group]?.[option] ?? null } };
      },
    }),
  ];
}

/** @throws Fault 403 for what is no setting of a domain */
function requireKnown(group: string | undefined, option: string | undefined): void {
  if (group === undefined) return;
  if (!Object.hasOwn(DEFAULTS, group)) {
    throw invalid(`Group ${group} is not supported for domain specific configurations`);
  }
  if (option === undefined || Object.hasOwn(DEFAULTS[group] ?? {}, option) || isSensitive(group, option)) return;
  throw invalid(`Option ${option} in group ${group} is not supported for domain specific configurations`);
}

const isSensitive = (group: string, option: string): boolean => SENSITIVE[group]?.includes(option) === true;

/** A body's groups and options, all of which there are. @throws Fault 403 */
function checked(given: Readonly<Record<string, unknown>>): Config {
  const config: Config = {};
  for (const [group, options] of Object.entries(given)) {
    if (
      typeof options !== 'object' ||
      options === null ||
      Array.isArray(options) ||
      Object.keys(options).length === 0
    ) {
      throw invalid(`The value of group ${group} specified in the config should be a dictionary of options`);
    }
    for (const option of Object.keys(options)) requireKnown(group, option);
    config[group] = options as Record<string, Value>;
  }
  if (Object.keys(config).length === 0) throw invalid('No options specified');
  if (JSON.stringify(config).length > CONFIG_MAX_CHARACTERS) throw invalid('The settings are too long');
  return config;
}

/** Who changes one group or option says that one alone. @throws Fault 403 */
function requireOnly(given: Config, group: string | undefined, option: string | undefined): void {
  if (group === undefined) return;
  const groups = Object.keys(given);
  if (groups.length !== 1) {
    throw invalid(`Trying to update group ${group}, so that, and only that, group must be specified in the config`);
  }
  if (groups[0] !== group) {
    throw invalid(`request to update group ${group}, but config provided contains group ${groups[0]} instead`);
  }
  if (option === undefined) return;
  const options = Object.keys(given[group] ?? {});
  if (options.length !== 1) {
    throw invalid(
      `Trying to update option ${option} in group ${group}, so that, and only that, option must be specified  in the config`,
    );
  }
  if (options[0] !== option) {
    throw invalid(
      `Trying to update option ${option} in group ${group}, but config provided contains option ${options[0]} instead`,
    );
  }
}

/** The whole, one group under its name, or one option under its own. @throws Fault 404 where that is not set */
function part(domainId: string, config: Config, group: string | undefined, option: string | undefined): unknown {
  const lacking = (words: string) =>
    notFound(`Could not find ${words} in domain configuration for domain ${domainId}.`);
  if (group === undefined) {
    if (Object.keys(config).length === 0) throw lacking('any options');
    return config;
  }
  const options = config[group];
  if (option === undefined) {
    if (options === undefined) throw lacking(`group ${group}`);
    return { [group]: options };
  }
  if (options === undefined || !Object.hasOwn(options, option)) throw lacking(`option ${option} in group ${group}`);
  return { [option]: options[option] };
}

function withoutSecrets(config: Config): Config {
  const shown: Config = {};
  for (const [group, options] of Object.entries(config)) {
    const kept = Object.entries(options).filter(([option]) => !isSensitive(group, option));
    if (kept.length > 0) shown[group] = Object.fromEntries(kept);
  }
  return shown;
}

async function read(core: Core, query: Queryable, domainId: string): Promise<Config | undefined> {
  const { rows } = await sql<{ sealed: string; key_id: string }>`
    select sealed, key_id from identity_domain_configs where domain_id = ${domainId}`.execute(query);
  return rows[0] === undefined ? undefined : (JSON.parse(await openSealed(core, rows[0], domainId)) as Config);
}

/** Makes of a domain's settings what `work` makes of them; others who do so wait. @returns what was before */
async function change(
  core: Core,
  domainId: string,
  work: (before: Config | undefined) => Config,
): Promise<Config | undefined> {
  return core.db.transaction(async (tx: Tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`domain config ${domainId}`}, 0))`.execute(tx);
    if ((await holdDomain(tx, domainId)) === undefined) throw missing('domain')(domainId);
    const before = await read(core, tx, domainId);
    const after = work(before);
    if (Object.keys(after).length === 0) {
      await sql`delete from identity_domain_configs where domain_id = ${domainId}`.execute(tx);
      return before;
    }
    const { sealed, key_id } = await seal(core, JSON.stringify(after), domainId);
    await sql`insert into identity_domain_configs (domain_id, sealed, key_id) values (${domainId}, ${sealed}, ${key_id})
      on conflict (domain_id) do update set sealed = excluded.sealed, key_id = excluded.key_id`.execute(tx);
    return before;
  });
}
