/** Cinder's policy rules with its modern defaults: a reader reads, a member writes, an admin runs the cloud. */
import type { PolicyRule } from '../http/service.ts';

/** Reading what belongs to the caller's project. */
export const reads = (name: string): PolicyRule => ({ name, check: 'rule:project_reader_or_admin' });
/** Changing what belongs to the caller's project. */
export const writes = (name: string): PolicyRule => ({ name, check: 'rule:project_member_or_admin' });
/** Running the cloud. */
export const administers = (name: string): PolicyRule => ({ name, check: 'rule:admin' });
/** What every token may read. */
export const everyone = (name: string): PolicyRule => ({ name, check: 'rule:public' });
