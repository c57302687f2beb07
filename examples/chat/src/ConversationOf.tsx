import { ConversationView } from './ConversationView';
import { problemOf } from './errors';
import { useFreshQuery } from './fresh';
import { ConversationsDocument } from './gql/graphql';
import { ProblemNote } from './ProblemNote';
import type { Route } from './route';

/** The conversation of the route, or the agent's default one. */
export function ConversationOf({ route }: { route: Route }) {
  const [{ data, error }, again] = useFreshQuery({
    query: ConversationsDocument,
    variables: { agentId: route.agentId ?? '' },
    pause: route.conversationId !== null,
  });
  const id = route.conversationId ?? data?.agent?.defaultConversation?.id;
  if (id !== undefined) {
    return <ConversationView key={id} id={id} />;
  }
  return error ? <ProblemNote problem={problemOf(error)} onRetry={again} /> : <p className="hint">Loading…</p>;
}
