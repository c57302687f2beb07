import { useState } from 'react';
import { problemOf } from './errors';
import { useFreshQuery } from './fresh';
import { AgentsDocument } from './gql/graphql';
import { Conversations } from './Conversations';
import { ProblemNote } from './ProblemNote';
import { linkTo, type Route } from './route';

/** The user's agents, and the conversations of the open one. */
export function Agents({ route }: { route: Route }) {
  const [after, setAfter] = useState<(string | null)[]>([null]);
  return (
    <nav aria-label="Agents and conversations">
      <h2>Agents</h2>
      <ul>
        {after.map((cursor, page) => (
          <AgentPage
            key={cursor ?? 'first'}
            after={cursor}
            route={route}
            onMore={page === after.length - 1 ? (next) => setAfter([...after, next]) : undefined}
          />
        ))}
      </ul>
    </nav>
  );
}

interface PageProps {
  after: string | null;
  route: Route;
  onMore: ((after: string) => void) | undefined;
}

function AgentPage({ after, route, onMore }: PageProps) {
  const [{ data, error, fetching }, again] = useFreshQuery({ query: AgentsDocument, variables: { after } });
  const list = data?.viewer.agents;
  if (!list) {
    return <li>{error ? <ProblemNote problem={problemOf(error)} onRetry={again} /> : fetching && 'Loading…'}</li>;
  }
  const next = list.pageInfo.hasNextPage ? list.pageInfo.endCursor : null;
  return (
    <>
      {list.edges.length === 0 && <li>You have no agents.</li>}
      {list.edges.map(({ node }) => (
        <li key={node.id}>
          <a href={linkTo(node.id)} aria-current={node.id === route.agentId ? 'true' : undefined}>
            {node.name ?? 'Agent'}
            <small>{node.description ?? (node.version !== null ? `Version ${node.version}` : '')}</small>
          </a>
          {node.id === route.agentId && <Conversations route={route} agentId={node.id} />}
        </li>
      ))}
      {onMore && next !== null && (
        <li>
          <button type="button" onClick={() => onMore(next)}>
            More agents
          </button>
        </li>
      )}
    </>
  );
}
