import type { Logger } from 'pino';

/**
 * Applies every record of a child's answer by itself: one that cannot be read or stored is logged and skipped, and
 * does not drop the rest.
 * @param identify names a record in the log
 * @returns how many could not be applied
 */
export async function applyEach<Item>(
  items: readonly Item[],
  log: Logger,
  identify: (item: Item) => string,
  apply: (item: Item) => Promise<void> | void,
): Promise<number> {
  let failed = 0;
  for (const item of items) {
    try {
      await apply(item);
    } catch (error) {
      failed += 1;
      log.warn({ err: error, record: name(item, identify) }, 'a record of a child could not be applied');
    }
  }
  return failed;
}

function name<Item>(item: Item, identify: (item: Item) => string): string {
  try {
    return String(identify(item)).slice(0, 128);
  } catch {
    return 'unreadable';
  }
}
