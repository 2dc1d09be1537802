/** What compute counts, with the limits that Nova ships. */
import { createQuotas, type QuotaBook } from '../../resource/quota.ts';

/** Counted as objects come and go. */
const COUNTED = { instances: 10, cores: 20, ram: 51_200, server_groups: 10 };

/** Checked where they apply: how many of something one object, group or user may have. */
const CHECKED = {
  key_pairs: 100,
  server_group_members: 10,
  metadata_items: 128,
  injected_files: 5,
  injected_file_content_bytes: 10_240,
  injected_file_path_bytes: 255,
};

/** Neutron's now; Nova still keeps what is said of them before microversion 2.36 or 2.50, and limits nothing by it. */
export const NETWORK_LIMITS = {
  fixed_ips: -1,
  floating_ips: -1,
  security_group_rules: -1,
  security_groups: -1,
} as const;

const book = createQuotas('compute', { ...COUNTED, ...CHECKED });

/** The quotas of compute: `instances`, `cores`, `ram` (MiB) and `server_groups` are to be reserved and given back. */
export const computeQuotas = (): QuotaBook => book;

const kept = createQuotas('compute_networks', NETWORK_LIMITS);

/** The limits that are kept and shown, and that nothing is counted by. */
export const keptLimits = (): QuotaBook => kept;
