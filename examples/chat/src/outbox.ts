// A message from sending it until it is in the conversation, with its idempotency key: however often the client repeats
// it, also after a reload, the gateway sends it once.
import { recall, remember } from './store';

export interface Outgoing {
  key: string;
  text: string;
  /** Set after the gateway's response. */
  streamId: string | null;
}

const place = (conversationId: string) => `outbox:${conversationId}`;

export function outgoing(conversationId: string): Outgoing | null {
  const kept = recall(place(conversationId));
  return kept === '' ? null : (JSON.parse(kept) as Outgoing);
}

/** Returns the message to send: the unanswered one if its text is the same, otherwise a new one. */
export function prepare(conversationId: string, text: string): Outgoing {
  const kept = outgoing(conversationId);
  if (kept !== null && kept.streamId === null && kept.text === text) {
    return kept;
  }
  const message = { key: crypto.randomUUID(), text, streamId: null };
  remember(place(conversationId), JSON.stringify(message));
  return message;
}

export function answered(conversationId: string, message: Outgoing, streamId: string): void {
  remember(place(conversationId), JSON.stringify({ ...message, streamId }));
}

export function settle(conversationId: string): void {
  remember(place(conversationId), '');
}
