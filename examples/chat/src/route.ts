// The page's route: #/AGENT or #/AGENT/CONVERSATION. Reloads, links and the back button keep it.
import { useMemo, useSyncExternalStore } from 'react';

export interface Route {
  agentId: string | null;
  /** Null for the agent's default conversation. */
  conversationId: string | null;
}

export function linkTo(agentId: string, conversationId?: string): string {
  return `#/${[agentId, conversationId].flatMap((id) => (id ? [encodeURIComponent(id)] : [])).join('/')}`;
}

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return useMemo(() => {
    const [agentId, conversationId] = hash.replace(/^#\/?/, '').split('/').map(decoded);
    return { agentId: agentId || null, conversationId: conversationId || null };
  }, [hash]);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

function subscribe(tell: () => void): () => void {
  addEventListener('hashchange', tell);
  return () => removeEventListener('hashchange', tell);
}
