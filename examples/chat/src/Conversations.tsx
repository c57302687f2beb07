import { useMutation } from 'urql';
import { problemOf } from './errors';
import { useFreshQuery } from './fresh';
import { ConversationsDocument, StartConversationDocument } from './gql/graphql';
import { ProblemNote } from './ProblemNote';
import { linkTo, type Route } from './route';

interface Props {
  agentId: string;
  route: Route;
}

export function Conversations({ agentId, route }: Props) {
  const [{ data, error }, again] = useFreshQuery({ query: ConversationsDocument, variables: { agentId } });
  const [{ fetching, error: refusal }, start] = useMutation(StartConversationDocument);
  const edges = data?.agent?.conversations?.edges ?? [];

  async function startOne() {
    const { data: started } = await start({ input: { agentId } });
    const edge = started?.createConversation.conversationEdge;
    if (edge) {
      location.hash = linkTo(agentId, edge.node.id);
    }
  }

  return (
    <ul aria-label="Conversations">
      <li>
        <a href={linkTo(agentId)} aria-current={route.conversationId === null ? 'page' : undefined}>
          Default conversation
        </a>
      </li>
      {edges.map(({ node }) => (
        <li key={node.id}>
          <a href={linkTo(agentId, node.id)} aria-current={node.id === route.conversationId ? 'page' : undefined}>
            {node.summary ?? 'Conversation'}
            {node.lastMessageAt !== null && <small>{new Date(node.lastMessageAt).toLocaleString()}</small>}
          </a>
        </li>
      ))}
      <li>
        <button type="button" disabled={fetching} onClick={() => void startOne()}>
          New conversation
        </button>
      </li>
      {refusal && <li><ProblemNote problem={problemOf(refusal)} /></li>}
      {error && !data?.agent?.conversations && <li><ProblemNote problem={problemOf(error)} onRetry={again} /></li>}
    </ul>
  );
}
