import { useCallback, useEffect, useState } from 'react';
import { useClient } from 'urql';
import { problemOf, type Problem } from './errors';
import { CancelRunDocument, SendMessageDocument } from './gql/graphql';
import { answered, prepare } from './outbox';
import type { Start } from './turn';

export type Sending =
  | { state: 'idle' }
  | { state: 'sending' }
  /** The conversation has another run in progress; the user decides. */
  | { state: 'busy'; runId: string | null }
  /** Sent as soon as the conversation is idle. */
  | { state: 'waiting'; text: string }
  | { state: 'failed'; problem: Problem };

interface Options {
  conversationId: string;
  /** Whether the page knows of a run in progress. */
  busy: boolean;
  onBegun: (start: Start) => void;
  /** The gateway reports a run in progress; the page may not know which. */
  onBusy: () => void;
}

export interface Controls {
  sending: Sending;
  send: (text: string) => Promise<void>;
  wait: (text: string) => void;
  stopAndSend: (text: string) => Promise<void>;
  forget: () => void;
}

export function useSending({ conversationId, busy, onBegun, onBusy }: Options): Controls {
  const client = useClient();
  const [sending, setSending] = useState<Sending>({ state: 'idle' });

  const send = useCallback(
    async (text: string) => {
      setSending({ state: 'sending' });
      const message = prepare(conversationId, text);
      const input = { to: { conversationId }, content: [{ text }], idempotencyKey: message.key };
      const { data, error } = await client.mutation(SendMessageDocument, { input }).toPromise();
      const payload = data?.sendMessage;
      if (payload?.stream) {
        const questionId = payload.userMessageEdge?.node.id ?? null;
        answered(conversationId, message, payload.stream.id);
        setSending({ state: 'idle' });
        onBegun({ streamId: payload.stream.id, runId: payload.run?.id ?? null, question: text, questionId });
        return;
      }
      const refusal = payload?.errors[0];
      if (refusal?.__typename === 'ConversationBusy') {
        setSending({ state: 'busy', runId: refusal.run?.id ?? null });
        onBusy();
      } else {
        setSending({ state: 'failed', problem: error ? problemOf(error) : unknownRefusal(refusal?.message) });
      }
    },
    [client, conversationId, onBegun, onBusy],
  );

  const wait = useCallback((text: string) => setSending({ state: 'waiting', text }), []);
  const forget = useCallback(() => setSending({ state: 'idle' }), []);
  const runId = sending.state === 'busy' ? sending.runId : null;
  const stopAndSend = useCallback(
    async (text: string) => {
      wait(text);
      if (runId !== null) {
        const { error } = await client.mutation(CancelRunDocument, { input: { runId } }).toPromise();
        if (error) {
          setSending({ state: 'failed', problem: problemOf(error) });
        }
      }
    },
    [client, runId, wait],
  );

  useEffect(() => {
    if (sending.state === 'waiting' && !busy) {
      void send(sending.text);
    }
  }, [sending, busy, send]);
  return { sending, send, wait, stopAndSend, forget };
}

function unknownRefusal(message = 'The message was not sent.'): Problem {
  return { text: message, code: 'REFUSED', service: null, retryable: false, retryAfterSeconds: null, requestId: null };
}
