import { useEffect, useState } from 'react';
import type { ApprovalRequest } from './approval';
import type { MessageInPlaceFragment } from './gql/graphql';
import type { Turn } from './turn';

interface Props {
  turn: Turn | null;
  messages: MessageInPlaceFragment['node'][];
  request: ApprovalRequest | null;
}

/** Announces the start of an answer and the whole answer to screen readers, not each token. */
export function Announcer({ turn, messages, request }: Props) {
  const [answering, setAnswering] = useState(false);
  const running = turn !== null && turn.ended === null;
  useEffect(() => {
    if (running) {
      setAnswering(true); // from then on, what is last said has been waited for
    }
  }, [running]);
  return (
    <div className="unseen" role="status">
      {words()}
    </div>
  );

  function words(): string {
    if (running) {
      return turn.connected ? 'The agent is answering.' : 'The connection is lost. Trying again.';
    }
    if (request !== null) {
      return `The agent asks for approval to call ${request.toolCalls.map((call) => call.name).join(', ')}.`;
    }
    const last = messages.at(-1);
    return answering && last?.__typename === 'AssistantMessage' ? `The agent says: ${last.text}` : '';
  }
}
