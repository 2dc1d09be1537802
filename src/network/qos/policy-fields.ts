/** What every network object has that may have a QoS policy of its own. */
import { Type } from 'typebox';
import { field, nullable } from '../../resource/resource.ts';

export const policyFields = {
  qos_policy_id: field(nullable(Type.String()), {
    create: 'optional',
    update: true,
    column: true,
    default: null,
    input: nullable(Type.String({ format: 'uuid' })),
  }),
  /** Whether it ever had a policy: then its copies are told that it has none. */
  qos_known: field(Type.Boolean(), { show: 'never', default: false }),
};
