import type { Client } from 'urql';
import { Agents } from './Agents';
import { ConversationOf } from './ConversationOf';
import { ErrorBoundary } from './ErrorBoundary';
import { Refresh } from './fresh';
import { useRoute } from './route';
import { ServiceBanner } from './ServiceBanner';
import { useServices } from './services';
import { signOut } from './session';

export function Workspace({ client, signIns }: { client: Client; signIns: number }) {
  const services = useServices(client);
  const route = useRoute();
  return (
    <Refresh.Provider value={signIns + services.recoveries}>
      <a className="skip" href="#message" onClick={toComposer}>
        Skip to the message field
      </a>
      <header>
        <strong>agentgraph chat</strong>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <ServiceBanner services={services} />
      <div className="columns">
        <ErrorBoundary>
          <Agents route={route} />
        </ErrorBoundary>
        <main>
          <ErrorBoundary key={`${route.agentId}/${route.conversationId}`}>
            {route.agentId === null ? <p className="hint">Choose an agent.</p> : <ConversationOf route={route} />}
          </ErrorBoundary>
        </main>
      </div>
    </Refresh.Provider>
  );
}

/** A button, since a link would change the hash, which is the route. */
function toComposer(event: { preventDefault: () => void }) {
  event.preventDefault();
  document.getElementById('message')?.focus();
}
