/** The tables of cascading itself (migrations 0001 and 0210). */
import type { Generated } from 'kysely';
import type { Capacity } from './contract.ts';

declare module '../db/tables.ts' {
  interface Tables {
    children: {
      name: string;
      zones: Record<string, string>;
      zones_override: Record<string, string> | null;
      tenancy: string;
      up: Generated<boolean>;
      seen_at: string | null;
      is_admin: boolean | null;
      capacity: Capacity | null;
      created_at: Generated<string>;
    };
    proxies: {
      child: string;
      binary_name: string;
      enabled: Generated<boolean>;
      disabled_reason: string | null;
      forced_down: Generated<boolean>;
      updated_at: Generated<string>;
    };
    replicas: {
      kind: string;
      resource_id: string;
      child: string;
      child_id: string | null;
      revision: Generated<number>;
      retiring: Generated<boolean>;
      detail: Generated<Record<string, unknown>>;
      sent_at: string | null;
      claimed_by: string | null;
      error: string | null;
      uses: Generated<string[]>;
    };
    work: {
      lane: string;
      kind: string;
      resource_id: string;
      generation: Generated<number>;
      attempts: Generated<number>;
      request_id: string | null;
      due_at: Generated<string>;
      claimed_by: string | null;
    };
    cursors: { child: string; feed: string; cursor: string | null };
  }
}
