// A message from the moment it is sent until it stands in the conversation. Its key goes with it: however often the
// same message is sent, after a reload too, the gateway sends it on once.
import { recall, remember } from './store';

export interface Outgoing {
  key: string;
  text: string;
  /** Known once the gateway has answered. */
  streamId: string | null;
}

const place = (conversationId: string) => `outbox:${conversationId}`;

export function outgoing(conversationId: string): Outgoing | null {
  const kept = recall(place(conversationId));
  return kept === '' ? null : (JSON.parse(kept) as Outgoing);
}

/** The message to send: the one that got no answer, if it has the same words, else a new one. */
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
