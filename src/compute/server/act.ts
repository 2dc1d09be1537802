/** The shape that all actions of a server share. */
import { type Operation, operation } from '../../http/service.ts';

type Definition<Body> = Pick<Operation<Body>, 'action' | 'policy' | 'body' | 'summary' | 'handle'> &
  Partial<Pick<Operation<Body>, 'status' | 'since' | 'until'>>;

/** An operation on `POST /servers/:server_id/action`; 202 unless it says otherwise. */
export const act = <Body = unknown>(definition: Definition<Body>): Operation =>
  operation<Body>({ method: 'POST', path: '/servers/:server_id/action', status: 202, ...definition });
