/**
 * New X.509 key pairs, as Nova makes them for logins to Windows without a password: a certificate that the key signs
 * itself, in the user's name, for authentication of clients.
 */
import { randomBytes } from 'node:crypto';
import type { GeneratedKey } from './key.ts';
import { newRsaKey } from './key.ts';

const DAYS = 3650;
const DAY_MS = 86_400_000;
const SERIAL_BYTES = 20;
const SUBJECT_ALT_NAME = '2.5.29.17';
/** Microsoft's user principal name: whom the certificate logs in. */
const PRINCIPAL_NAME = '1.3.6.1.4.1.311.20.2.3';

/**
 * A new RSA key of 2048 bits and a certificate of it: the private half as PKCS#12 without a password in base64, the public
 * one as PEM.
 */
export async function generateCertificate(userId: string): Promise<GeneratedKey> {
  const [{ default: forge }, pem] = await Promise.all([import('node-forge'), newRsaKey()]);
  const { asn1, pki } = forge;
  const privateKey = pki.privateKeyFromPem(pem);
  const certificate = pki.createCertificate();
  certificate.publicKey = pki.setRsaPublicKey(privateKey.n, privateKey.e);
  const serial = randomBytes(SERIAL_BYTES);
  // A first bit that is set would make it negative, and a first byte of zero superfluous.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  certificate.serialNumber = serial.toString('hex');
  const now_ms = Date.now();
  certificate.validity.notBefore = new Date(now_ms);
  certificate.validity.notAfter = new Date(now_ms + DAYS * DAY_MS);
  const name = [{ name: 'commonName', value: userId, valueTagClass: asn1.Type.UTF8 }];
  certificate.setSubject(name as never);
  certificate.setIssuer(name as never);
  const { Class, Type } = asn1;
  const principal = asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [
    asn1.create(Class.CONTEXT_SPECIFIC, 0, true, [
      asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(PRINCIPAL_NAME).getBytes()),
      asn1.create(Class.CONTEXT_SPECIFIC, 0, true, [
        asn1.create(Class.UNIVERSAL, Type.UTF8, false, forge.util.encodeUtf8(`${userId}@localhost`)),
      ]),
    ]),
  ]);
  certificate.setExtensions([
    { name: 'extKeyUsage', clientAuth: true },
    { id: SUBJECT_ALT_NAME, critical: false, value: asn1.toDer(principal).getBytes() },
  ]);
  certificate.sign(privateKey, forge.md.sha256.create());
  const store = forge.pkcs12.toPkcs12Asn1(privateKey, [certificate], '', { algorithm: 'aes256' });
  return {
    private_key: forge.util.encode64(asn1.toDer(store).getBytes()),
    public_key: pki.certificateToPem(certificate).replaceAll('\r\n', '\n'),
  };
}
