/**
 * `/os-instance_usage_audit_log`: which hosts have summed up the last month. The parent asks no child to, and says so;
 * what projects use is in `/os-simple-tenant-usage`.
 */
import { badRequest } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { childHosts } from '../service/hosts.ts';

const rule = (name: string) => computeRule(`os-instance-usage-audit-log:${name}`, ADMIN);
const path = '/os-instance_usage_audit_log';

const written = (time: number): string => new Date(time).toISOString().slice(0, 19).replace('T', ' ');

/** The whole month before a moment, as Nova's default of `instance_usage_audit_period` says. */
function period(before: Date): { period_beginning: string; period_ending: string } {
  const [year, month] = [before.getUTCFullYear(), before.getUTCMonth()];
  return { period_beginning: written(Date.UTC(year, month - 1)), period_ending: written(Date.UTC(year, month)) };
}

/** List and show. */
export function usageAuditLogOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const log = async (before: Date) => {
    const hosts = (await childHosts(cascade, db.query)).map(({ host }) => host);
    return {
      ...period(before),
      num_hosts: hosts.length,
      num_hosts_done: 0,
      num_hosts_running: 0,
      num_hosts_not_run: hosts.length,
      hosts_not_run: hosts,
      total_instances: 0,
      total_errors: 0,
      overall_status: `${hosts.length === 0 ? 'ALL' : `0 of ${hosts.length}`} hosts done. 0 errors.`,
      log: {},
    };
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: rule('list'),
      status: 200,
      summary: 'Show which hosts summed up the last month',
      handle: async () => ({ instance_usage_audit_logs: await log(new Date()) }),
    }),
    operation({
      method: 'GET',
      path: `${path}/:moment`,
      policy: rule('show'),
      status: 200,
      summary: 'Show which hosts summed up the month before a moment',
      handle: async ({ params }) => {
        const text = params.moment as string;
        const isForm = /^\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?$/.test(text);
        const before = new Date(`${text.replace(' ', 'T')}Z`);
        if (!isForm || Number.isNaN(before.getTime())) {
          throw badRequest(`Invalid timestamp for date ${text.slice(0, 64)}`);
        }
        return { instance_usage_audit_log: await log(before) };
      },
    }),
  ];
}
