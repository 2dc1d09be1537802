/** Cinder's words for what it refuses. */
import { badRequest, Fault, notFound } from '../http/fault.ts';

export const volumeMissing = (id: string): Fault => notFound(`Volume ${id} could not be found.`);
export const snapshotMissing = (id: string): Fault => notFound(`Snapshot ${id} could not be found.`);
export const typeMissing = (id: string): Fault => notFound(`Volume type ${id} could not be found.`);
export const invalidVolume = (why: string): Fault => badRequest(`Invalid volume: ${why}`);
export const invalidSnapshot = (why: string): Fault => badRequest(`Invalid snapshot: ${why}`);
export const invalidInput = (why: string): Fault => badRequest(`Invalid input received: ${why}`);
/** 413 in the form of Cinder's quota exceptions, whose name stands before their words. */
export const overQuota = (exception: string, why: string): Fault =>
  new Fault(413, `${exception}: ${why}`, { headers: { 'retry-after': '0' } });
