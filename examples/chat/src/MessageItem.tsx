import { ApprovalForm } from './ApprovalForm';
import type { ApprovalRequest } from './approval';
import { Folded } from './Folded';
import type { MessageInPlaceFragment } from './gql/graphql';
import type { Start } from './turn';

type Message = MessageInPlaceFragment['node'];

interface Props {
  message: Message;
  request: ApprovalRequest | null;
  onBegun: (start: Start) => void;
}

/** A complete message. */
export function MessageItem({ message, request, onBegun }: Props) {
  return (
    <li className={`message ${message.__typename}`} data-id={message.id}>
      <Content message={message} />
      {request?.id === message.id && <ApprovalForm request={request} onBegun={onBegun} />}
      {message.createdAt !== null && (
        <time dateTime={message.createdAt}>{new Date(message.createdAt).toLocaleString()}</time>
      )}
    </li>
  );
}

function Content({ message }: { message: Message }) {
  switch (message.__typename) {
    case 'UserMessage':
    case 'AssistantMessage':
      return <p>{message.text}</p>;
    case 'ReasoningMessage':
      return <Folded title="Thought" text={message.text ?? ''} />;
    case 'ToolCallMessage':
    case 'ApprovalRequestMessage': {
      const asks = message.__typename === 'ApprovalRequestMessage';
      return message.toolCalls.map((call) => (
        <Folded
          key={call.toolCallId}
          title={`${asks ? 'Asks to call' : 'Called'} ${call.name ?? 'a tool'}`}
          text={call.arguments ?? ''}
          open={asks}
        />
      ));
    }
    case 'ToolReturnMessage':
      return message.toolReturns.map((returned, place) => (
        <Folded
          key={returned.toolCallId ?? place}
          title={`${message.name ?? 'The tool'}: ${(returned.status ?? 'answered').toLowerCase()}`}
          text={returned.text ?? ''}
        />
      ));
    case 'ApprovalResponseMessage':
      return <p>{`${message.approve ? 'Approved' : 'Denied'}${message.reason ? `: ${message.reason}` : '.'}`}</p>;
    case 'SystemMessage':
      return <Folded title="Notice" text={message.text ?? ''} />;
    case 'EventMessage':
      return <p className="hint">{message.eventType ?? 'Something happened.'}</p>;
    default:
      return <p className="hint">{message.text ?? 'A message of a kind this page does not know.'}</p>;
  }
}
