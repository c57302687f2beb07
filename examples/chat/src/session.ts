// The signed-in user. `refused`: the gateway no longer accepts the token; the page keeps its state meanwhile.
import { useSyncExternalStore } from 'react';
import { recall, remember } from './store';

export interface Session {
  token: string;
  refused: boolean;
  /** How many sign-ins there were since the page was loaded. */
  signIns: number;
}

let session: Session = { token: recall('token'), refused: false, signIns: 0 };
const listeners = new Set<() => void>();

function change(next: Partial<Session>): void {
  session = { ...session, ...next };
  remember('token', session.token);
  listeners.forEach((tell) => tell());
}

export const token = (): string => session.token;

export function signIn(given: string): void {
  change({ token: given.trim().replace(/^Bearer\s+/i, ''), refused: false, signIns: session.signIns + 1 });
}

export function signOut(): void {
  change({ token: '', refused: false });
}

export function refuse(used: string): void {
  if (used === session.token && used !== '' && !session.refused) {
    change({ refused: true });
  }
}

export function useSession(): Session {
  return useSyncExternalStore(subscribe, () => session);
}

function subscribe(tell: () => void): () => void {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

/** The token's user: the unverified `sub` claim. It only decides whether the cache can be kept. */
export function userOf(given: string): string {
  try {
    const claims = (given.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const { sub } = JSON.parse(atob(claims)) as { sub?: unknown };
    return typeof sub === 'string' ? sub : given;
  } catch {
    return given;
  }
}
