// A turn in progress: the parts of the answer received so far, in order. Complete messages are in the cache and are no
// longer shown from here (see `unstored`).
import type { FollowStreamSubscription, MessageInPlaceFragment } from './gql/graphql';

export type StreamEvent = FollowStreamSubscription['stream'];
type Ended = Extract<StreamEvent, { __typename: 'StreamEnded' }>;

export interface Part {
  kind: 'answer' | 'thought' | 'call';
  /** The id of the future message; null for a snapshot after a reload. */
  messageId: string | null;
  key: string;
  /** The tool's name, for a tool call. */
  name: string;
  text: string;
}

export interface Turn {
  streamId: string;
  runId: string | null;
  /** The user's message and its future id. */
  question: string;
  questionId: string | null;
  parts: Part[];
  connected: boolean;
  stopping: boolean;
  ended: Ended | null;
}

export interface Start {
  streamId: string;
  runId: string | null;
  question?: string;
  questionId?: string | null;
  /** A snapshot to resume from: the answer so far and its last cursor. */
  text?: string;
  after?: string;
}

export type Change =
  | { type: 'began'; start: Start }
  | { type: 'heard'; event: StreamEvent }
  | { type: 'connection'; connected: boolean }
  | { type: 'stopping'; stopping: boolean }
  | { type: 'dropped' };

export function reduce(turn: Turn | null, change: Change): Turn | null {
  if (change.type === 'began') {
    return begin(change.start);
  }
  if (turn === null) {
    return null;
  }
  switch (change.type) {
    case 'heard':
      return afterEvent({ ...turn, connected: true }, change.event);
    case 'connection':
      return { ...turn, connected: change.connected };
    case 'stopping':
      return { ...turn, stopping: change.stopping };
    case 'dropped':
      return null;
  }
}

function begin(start: Start): Turn {
  const { streamId, runId, question = '', questionId = null, text = '' } = start;
  const snapshot: Part[] = text === '' ? [] : [{ kind: 'answer', messageId: null, key: 'snapshot', name: '', text }];
  return { streamId, runId, question, questionId, parts: snapshot, connected: true, stopping: false, ended: null };
}

function afterEvent(turn: Turn, event: StreamEvent): Turn {
  switch (event.__typename) {
    case 'StreamStarted': {
      const asked = event.userMessageEdge?.node;
      const question = { question: asked?.text ?? turn.question, questionId: asked?.id ?? turn.questionId };
      return { ...turn, ...question, parts: event.replayed ? [] : turn.parts };
    }
    case 'TextDelta':
      return { ...turn, parts: extended(turn.parts, { kind: 'answer', ...piece(event.messageId, event.text) }) };
    case 'ReasoningDelta':
      return { ...turn, parts: extended(turn.parts, { kind: 'thought', ...piece(event.messageId, event.text) }) };
    case 'ToolCallDelta': {
      const call = piece(event.messageId, event.argumentsDelta, `/${event.index}`, event.name ?? '');
      return { ...turn, parts: extended(turn.parts, { kind: 'call', ...call }) };
    }
    case 'StreamEnded':
      return { ...turn, ended: event };
    default:
      return turn;
  }
}

function piece(messageId: string | null, text: string, suffix = '', name = '') {
  return { messageId, key: `${messageId}${suffix}`, name, text };
}

/** Appends to a part, or adds a new one. Text directly after a snapshot continues it. */
function extended(parts: Part[], more: Part): Part[] {
  const last = parts.at(-1);
  const continues = last?.messageId === null && last.kind === 'answer' && more.kind === 'answer';
  const at = continues ? parts.length - 1 : parts.findIndex((part) => part.key === more.key && part.kind === more.kind);
  return at < 0
    ? [...parts, more]
    : parts.map((part, place) =>
        place === at ? { ...part, name: part.name || more.name, text: part.text + more.text } : part,
      );
}

type Message = MessageInPlaceFragment['node'];

/** Returns the parts of a turn that are not among the cached messages. */
export function unstored(turn: Turn, messages: Message[]): { question: string; parts: Part[] } {
  const ids = new Set(messages.map((message) => message.id));
  const asked = turn.questionId !== null && ids.has(turn.questionId);
  const parts = turn.parts.flatMap((part) => {
    if (part.messageId !== null) {
      return ids.has(part.messageId) ? [] : [part];
    }
    const text = afterStored(part.text, messages);
    return text === '' ? [] : [{ ...part, text }];
  });
  return { question: asked ? '' : turn.question, parts };
}

/** A snapshot contains the text of all answers of the turn; cached answers are at its start. */
function afterStored(text: string, messages: Message[]): string {
  const begins = messages.findLastIndex((one) => TURN_BEGINS.has(one.__typename));
  return messages.slice(begins + 1).reduce((rest, one) => {
    const said = one.__typename === 'AssistantMessage' ? (one.text ?? '') : '';
    return rest.startsWith(said) ? rest.slice(said.length) : rest;
  }, text);
}

const TURN_BEGINS = new Set(['UserMessage', 'ApprovalResponseMessage']);
