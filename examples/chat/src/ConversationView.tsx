import { useCallback, useEffect, useState } from 'react';
import { useClient } from 'urql';
import { Announcer } from './Announcer';
import { Composer } from './Composer';
import { problemOf, type Problem } from './errors';
import { useFreshQuery } from './fresh';
import { ConversationDocument, EarlierMessagesDocument, type MessageInPlaceFragment } from './gql/graphql';
import { LiveTurn } from './LiveTurn';
import { MessageItem } from './MessageItem';
import { settle } from './outbox';
import { pendingApproval } from './approval';
import { ProblemNote } from './ProblemNote';
import { unstored } from './turn';
import { useStickToEnd } from './useStickToEnd';
import { useTurn } from './useTurn';

const LOOK_AGAIN_MS = 2000;

/** One conversation: messages, the answer in progress, and the composer. */
export function ConversationView({ id }: { id: string }) {
  const [{ data, error, stale, fetching }, again] = useFreshQuery({ query: ConversationDocument, variables: { id } });
  const { turn, begin, stop, drop } = useTurn(id, again);
  const earlier = useEarlier(id);
  const conversation = data?.conversation;
  const run = stale || fetching ? null : (conversation?.activeRun ?? null);
  const newest = conversation?.messages?.edges.map((edge) => edge.node) ?? [];
  const messages = [...earlier.messages.filter((one) => !newest.some(({ id: same }) => same === one.id)), ...newest];
  const live = turn && unstored(turn, messages);
  const running = turn !== null && turn.ended === null;
  const elsewhere = !running && run !== null; // a run that this page has no stream of

  useEffect(() => {
    if (run?.stream) {
      const { id: streamId, userMessageEdge, text, lastCursor: after } = run.stream;
      const asked = userMessageEdge?.node;
      begin({ streamId, runId: run.id, text, after, question: asked?.text ?? '', questionId: asked?.id ?? null });
    }
  }, [run, id, begin]);

  useEffect(() => {
    const timer = elsewhere ? setInterval(again, LOOK_AGAIN_MS) : undefined;
    return () => clearInterval(timer);
  }, [elsewhere, again]);

  const completed = turn?.ended?.outcome === 'COMPLETED';
  const rest = live !== null && (live.question !== '' || live.parts.length > 0);
  const ended = turn !== null && turn.ended !== null;
  useEffect(() => {
    if (ended) {
      settle(id);
    }
    if (completed && !rest) {
      drop();
    }
    // where the end came without all of its messages, they are read once more
    const timer = completed && rest ? setTimeout(again, LOOK_AGAIN_MS) : undefined;
    return () => clearTimeout(timer);
  }, [ended, completed, rest, id, drop, again]);

  const list = useStickToEnd<HTMLDivElement>([messages.length, turn]);
  const request = running || run !== null ? null : pendingApproval(messages);
  return (
    <section className="conversation" aria-labelledby="conversation-title">
      <h1 id="conversation-title">{conversation?.summary ?? 'Conversation'}</h1>
      <Announcer turn={turn} messages={messages} request={request} />
      <div className="messages" ref={list} tabIndex={0} role="region" aria-label="Messages">
        {conversation?.messages?.pageInfo.hasPreviousPage && earlier.more !== false && (
          <button
            type="button"
            disabled={earlier.asking}
            onClick={() => earlier.ask(conversation.messages?.pageInfo.startCursor ?? null)}
          >
            Earlier messages
          </button>
        )}
        {earlier.problem && <ProblemNote problem={earlier.problem} />}
        <ol>
          {messages.map((message) => (
            <MessageItem key={message.id} message={message} request={request} onBegun={begin} />
          ))}
          {turn && live && <LiveTurn turn={turn} question={live.question} parts={live.parts} />}
        </ol>
        {elsewhere && <p className="hint">The agent is at work on this. Its answer appears when it is done.</p>}
        {!conversation && fetching && <p className="hint">Loading…</p>}
        {error && !conversation?.messages && <ProblemNote problem={problemOf(error)} onRetry={again} />}
      </div>
      <Composer
        conversationId={id}
        busy={running || elsewhere}
        running={running ? turn : null}
        undecided={request !== null}
        onBegun={begin}
        onBusy={again}
        onStop={stop}
      />
    </section>
  );
}

type Message = MessageInPlaceFragment['node'];

/** Pages of older messages. */
function useEarlier(id: string) {
  const client = useClient();
  const [pages, setPages] = useState<{ messages: Message[]; more: boolean; start: string | null } | null>(null);
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const ask = useCallback(
    async (newestStart: string | null) => {
      const before = pages?.start ?? newestStart;
      if (before === null) {
        return;
      }
      setAsking(true);
      const { data, error } = await client
        .query(EarlierMessagesDocument, { id, before }, { requestPolicy: 'network-only' })
        .toPromise();
      setAsking(false);
      setProblem(error ? problemOf(error) : null);
      const page = data?.conversation?.messages;
      if (page) {
        const messages = [...page.edges.map((edge) => edge.node), ...(pages?.messages ?? [])];
        setPages({ messages, more: page.pageInfo.hasPreviousPage, start: page.pageInfo.startCursor });
      }
    },
    [client, id, pages],
  );
  return { messages: pages?.messages ?? [], more: pages?.more, asking, problem, ask: (start: string | null) => void ask(start) };
}
