import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadCloud } from './clouds-yaml.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'clouds-yaml-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): string {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

function load(name: string, env: Record<string, string> = {}) {
  return loadCloud(name, { env, cwd: join(root, 'cwd'), home: join(root, 'home') });
}

function cloud(auth: string, more = ''): string {
  return `clouds:\n  east:\n    auth:\n${auth.replace(/^/gm, '      ')}\n${more.replace(/^/gm, '    ')}\n`;
}

const whole = 'auth_url: http://k:5000/v3\nusername: u\npassword: p\nproject_name: a';

describe('loadCloud', () => {
  it('looks in OS_CLIENT_CONFIG_FILE, then the working folder, then the home', () => {
    write('home/.config/openstack/clouds.yaml', cloud(whole, 'region_name: home'));
    expect(load('east').region_name).toBe('home');
    write('cwd/clouds.yaml', cloud(whole, 'region_name: cwd'));
    expect(load('east').region_name).toBe('cwd');
    const file = write('elsewhere.yaml', cloud(whole, 'region_name: env'));
    expect(load('east', { OS_CLIENT_CONFIG_FILE: file }).region_name).toBe('env');
  });

  it('keeps an account in a URL out of all that names the URL', () => {
    write('cwd/clouds.yaml', cloud(whole.replace('k:5000', 'u:very@secret@k:5000')));
    expect(load('east').auth.auth_url).toBe('http://k:5000/v3');
  });

  it('merges the secure.yaml beside it, and fills in the defaults', () => {
    write('cwd/clouds.yaml', cloud('auth_url: http://k:5000/v3\nusername: u\nproject_name: a\nuser_domain_name: D'));
    write('cwd/secure.yaml', cloud('password: 12345'));
    expect(load('east')).toEqual({
      name: 'east',
      auth_type: 'password',
      auth: {
        auth_url: 'http://k:5000/v3',
        username: 'u',
        password: '12345',
        user_domain_name: 'D',
        project_name: 'a',
        project_domain_id: 'default',
      },
      interface: 'public',
      verify: true,
    });
  });

  it('reads application credentials, tokens, TLS, interface and overrides', () => {
    const credential = 'auth_url: https://k/v3\napplication_credential_id: i\napplication_credential_secret: s';
    const more =
      'auth_type: v3applicationcredential\nverify: false\ncacert: ~/ca.pem\ninterface: internalURL\nvolume_endpoint_override: http://v';
    write('cwd/clouds.yaml', cloud(credential, more));
    expect(load('east')).toMatchObject({
      auth_type: 'v3applicationcredential',
      verify: false,
      cacert: join(root, 'home/ca.pem'),
      interface: 'internal',
      endpoint_overrides: { volume: 'http://v' },
    });
    write('cwd/clouds.yaml', cloud('auth_url: https://k/v3\ntoken: t', 'auth_type: token'));
    expect(load('east')).toMatchObject({ auth_type: 'token', auth: { token: 't' } });
  });

  it.each([
    [cloud('username: u\npassword: p'), /clouds\.east\.auth\.auth_url is missing: add/],
    [
      cloud('auth_url: http://k\nusername: u'),
      /clouds\.east\.auth\.password is missing: add it here or in secure\.yaml/,
    ],
    [cloud('auth_url: http://k\npassword: p'), /auth\.username is missing/],
    [cloud('auth_url: k:5000\nusername: u\npassword: p'), /auth_url must be an http or https address/],
    [cloud(whole, 'auth_type: v3kerberos'), /auth_type is not supported: use password/],
    [cloud(whole, 'interface: inside'), /interface must be public, internal or admin/],
    [cloud(whole, 'verify: perhaps'), /verify must be true or false/],
    [cloud(whole, 'region_name: [a]'), /region_name must be a plain value/],
    ['clouds:\n  west: {}', /no cloud named 'east' \(it has: west\)/],
    ['cloud: {}', /no mapping 'clouds'/],
    ['clouds:\n  east:\n    profile: vendor\n', /vendor profile/],
    ['clouds:\n  east: 3\n', /must be a mapping/],
  ])('names file and key where it is wrong: %#', (text, message) => {
    const file = write('cwd/clouds.yaml', text);
    expect(() => load('east')).toThrow(message);
    expect(() => load('east')).toThrow(file);
  });

  it('does not show the line that is not YAML, which may hold a password', () => {
    write('cwd/clouds.yaml', 'clouds:\n  east:\n    password: "hunter2\n');
    expect(() => load('east')).toThrow(/is not valid YAML/);
    expect(() => load('east')).not.toThrow(/hunter2/);
  });

  it('does not go on looking when OS_CLIENT_CONFIG_FILE is wrong', () => {
    write('cwd/clouds.yaml', cloud(whole));
    expect(() => load('east', { OS_CLIENT_CONFIG_FILE: '/nowhere.yaml' })).toThrow(
      /names \/nowhere\.yaml, which does not/,
    );
  });
});
