import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from 'react';
import { outgoing } from './outbox';
import { ProblemNote } from './ProblemNote';
import { recall, remember } from './store';
import type { Start, Turn } from './turn';
import { useSending } from './useSending';

interface Props {
  conversationId: string;
  busy: boolean;
  running: Turn | null;
  /** The agent waits for a decision and accepts no message. */
  undecided: boolean;
  onBegun: (start: Start) => void;
  onBusy: () => void;
  onStop: () => void;
}

export function Composer({ conversationId, busy, running, undecided, onBegun, onBusy, onStop }: Props) {
  const [draft, setDraft] = useDraft(conversationId);
  const field = useRef<HTMLTextAreaElement>(null);
  const { sending, send, wait, stopAndSend, forget } = useSending({
    conversationId,
    busy,
    onBusy,
    onBegun: (start) => {
      setDraft(''); // the draft is kept until the message is on its way
      onBegun(start);
    },
  });
  const unready = undecided || sending.state === 'sending' || sending.state === 'waiting';

  useEffect(() => {
    field.current?.focus();
  }, []);

  function submit(event?: FormEvent) {
    event?.preventDefault();
    if (draft.trim() !== '' && !unready) {
      void send(draft);
    }
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    }
  }

  return (
    <form className="composer" onSubmit={submit}>
      {sending.state === 'busy' && (
        <div role="alert" className="problem">
          <p>The agent is still busy with another message. Yours is kept.</p>
          <p className="buttons">
            <button type="button" onClick={() => wait(draft)}>
              Send when it is done
            </button>
            <button type="button" onClick={() => void stopAndSend(draft)}>
              Stop it and send
            </button>
          </p>
        </div>
      )}
      {sending.state === 'waiting' && (
        <p role="status">
          Your message goes out as soon as the agent is free.{' '}
          <button type="button" onClick={forget}>
            Do not send
          </button>
        </p>
      )}
      {sending.state === 'failed' && <ProblemNote problem={sending.problem} onRetry={() => submit()} />}
      {undecided && <p className="hint">The agent waits for your decision above.</p>}
      <label htmlFor="message">Your message</label>
      <textarea
        id="message"
        ref={field}
        rows={3}
        value={draft}
        readOnly={sending.state === 'waiting'}
        onChange={(event) => setDraft(event.target.value)}
        onKeyDown={onKeyDown}
        aria-describedby="message-hint"
      />
      <p className="buttons">
        <button type="submit" disabled={unready || draft.trim() === ''}>
          Send
        </button>
        {running?.runId && (
          <button type="button" disabled={running.stopping} onClick={onStop}>
            Stop
          </button>
        )}
        <small id="message-hint">Enter sends, Shift+Enter begins a new line.</small>
      </p>
    </form>
  );
}

/** The draft survives a reload; so does a sent message without a response. */
function useDraft(conversationId: string): [string, (text: string) => void] {
  const place = `draft:${conversationId}`;
  const [draft, setDraft] = useState(() => {
    const sent = outgoing(conversationId);
    return recall(place) || (sent?.streamId === null ? sent.text : '');
  });
  return [
    draft,
    (text) => {
      setDraft(text);
      remember(place, text);
    },
  ];
}
