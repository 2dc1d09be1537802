import { describe, expect, it } from 'vitest';
import { createTokenCache } from './token-cache.ts';

function fixture() {
  const clock = { now_ms: 1_000 };
  const cache = createTokenCache<{ user: string }>({ entries_max: 3, ttl_ms: 10, now: () => clock.now_ms });
  let asked = 0;
  const find = (user: string) => async () => {
    asked += 1;
    return { user };
  };
  return { clock, cache, find, asked: () => asked };
}

describe('the token cache', () => {
  it('asks once while an entry holds, and again after', async () => {
    const { clock, cache, find, asked } = fixture();
    await cache.get('a', find('alice'));
    await cache.get('a', find('alice'));
    expect(asked()).toBe(1);
    clock.now_ms += 10;
    await cache.get('a', find('alice'));
    expect(asked()).toBe(2);
  });

  it('keeps nothing of what was not found', async () => {
    const { cache } = fixture();
    expect(await cache.get('a', async () => undefined)).toBeUndefined();
    expect(cache.size).toBe(0);
  });

  it('drops who was asked for longest ago', async () => {
    const { cache, find, asked } = fixture();
    for (const token of ['a', 'b', 'c', 'a', 'd']) await cache.get(token, find(token));
    expect(cache.size).toBe(3);
    await cache.get('a', find('a'));
    expect(asked()).toBe(4);
    await cache.get('b', find('b'));
    expect(asked()).toBe(5);
  });

  it('asks once for many who ask at the same time', async () => {
    const { cache, find, asked } = fixture();
    await Promise.all([1, 2, 3].map(() => cache.get('a', find('alice'))));
    expect(asked()).toBe(1);
  });

  it('keeps nothing that was looked up while a change came', async () => {
    const { cache, find, asked } = fixture();
    let release: (value: { user: string }) => void = () => undefined;
    const slow = cache.get('a', () => new Promise((resolve) => (release = resolve)));
    cache.drop(() => false);
    const fresh = cache.get('a', find('alice'));
    release({ user: 'stale' });
    expect(await slow).toEqual({ user: 'stale' });
    expect(await fresh).toEqual({ user: 'alice' });
    expect(await cache.get('a', find('again'))).toEqual({ user: 'alice' });
    expect(asked()).toBe(1);
  });

  it('does not keep a failure', async () => {
    const { cache, find } = fixture();
    await expect(cache.get('a', () => Promise.reject(new Error('database gone')))).rejects.toThrow('database gone');
    expect(await cache.get('a', find('alice'))).toEqual({ user: 'alice' });
  });
});
