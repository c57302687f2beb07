import { Folded } from './Folded';
import type { Part, Turn } from './turn';

interface Props {
  turn: Turn;
  question: string;
  parts: Part[];
}

/** The answer in progress. Each part is replaced by its message when that is complete. */
export function LiveTurn({ turn, question, parts }: Props) {
  const quiet = turn.ended === null && parts.length === 0;
  return (
    <>
      {question !== '' && <li className="message UserMessage">{question}</li>}
      {parts.map((part) => (
        <li key={part.key} className={`message live ${KINDS[part.kind]}`}>
          {part.kind === 'answer' && part.text}
          {part.kind === 'thought' && <Folded title="Thinking…" text={part.text} open />}
          {part.kind === 'call' && <Folded title={`Calling ${part.name || 'a tool'}…`} text={part.text} open />}
        </li>
      ))}
      <li className="note">
        {!turn.connected && turn.ended === null && 'The connection is lost. Trying again; nothing is missed.'}
        {turn.connected && turn.stopping && turn.ended === null && 'Stopping…'}
        {turn.connected && !turn.stopping && quiet && 'The agent is thinking…'}
        {turn.ended?.outcome === 'CANCELLED' && 'Stopped.'}
        {turn.ended?.outcome === 'FAILED' && `The answer broke off. ${turn.ended.error?.message ?? ''}`}
      </li>
    </>
  );
}

const KINDS = { answer: 'AssistantMessage', thought: 'ReasoningMessage', call: 'ToolCallMessage' };
