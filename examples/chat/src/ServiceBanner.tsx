import type { ServiceName } from './gql/graphql';
import type { Services } from './services';

const MISSING: Record<ServiceName, string> = {
  AMS: 'the list of your agents',
  LETTA: 'conversations and what agents are called',
  LITELLM: 'models',
  SUPABASE: 'signing in',
  REDIS: 'answers across gateways',
};

/** Shows which features are unavailable. */
export function ServiceBanner({ services }: { services: Services }) {
  const names = services.down.map((one) => MISSING[one]).join(', ');
  return (
    <div role="status">
      {services.gatewayDown && <p className="banner">The gateway cannot be reached. This page tries again by itself.</p>}
      {services.down.length > 0 && (
        <p className="banner" data-down={services.down.join(' ')}>
          Not available just now: {names} ({services.down.join(', ')}). Everything else works; this page tries again by
          itself.
        </p>
      )}
    </div>
  );
}
