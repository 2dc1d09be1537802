/** What is kept encrypted: credentials and the settings of domains. */
import { sql } from 'kysely';
import type { Core } from './core.ts';
import type { Sealed } from './credential-cipher.ts';

/** @param id of what it belongs to */
export const seal = (core: Core, text: string, id: string): Promise<Sealed> =>
  core.cipher.seal(text, id, async () => {
    const { rows } = await sql`
      select 1 from identity_credentials union all select 1 from identity_domain_configs
      union all select 1 from identity_oauth_consumers limit 1`.execute(core.db.query);
    return rows.length === 0;
  });

export const openSealed = (core: Core, sealed: Sealed, id: string): Promise<string> => core.cipher.open(sealed, id);
