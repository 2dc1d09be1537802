/** What Keystone has retired with its signed tokens: its clients are told so, instead of that there is no such path. */
import { Fault, forbidden } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';

const retired = (path: string, summary: string, status: number, fault: () => Fault): Operation =>
  operation({
    method: 'GET',
    path,
    policy: 'none',
    status,
    summary,
    handle: async () => {
      throw fault();
    },
  });

export function retiredOperations(): Operation[] {
  return [
    ...['ca', 'certificates'].map((file) =>
      retired(
        `/OS-SIMPLE-CERT/${file}`,
        'Removed from Keystone',
        410,
        () => new Fault(410, 'This API is no longer available due to the removal of support for PKI tokens.'),
      ),
    ),
    retired('/auth/tokens/OS-PKI/revoked', 'Refused to everybody, as Keystone does', 403, () =>
      forbidden('You are not authorized to perform the requested action.'),
    ),
  ];
}
