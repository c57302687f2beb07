// Sends queries and mutations over POST, and subscriptions over SSE or WebSocket, as the switch selects.
import { getOperationAST, parse } from 'graphql';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createSocketClient } from 'graphql-ws';
import { fill } from './fill.js';

const URL_HERE = `${location.origin}/graphql`;
const ACCEPT = 'application/graphql-response+json, application/json';

// `session` has the current token and transport, and receives the callbacks begun(run), event(payload) and ended().
export const createFetcher = (session) => async (params, options) => {
  const headers = { ...(session.token && { Authorization: `Bearer ${session.token}` }), ...options?.headers };
  const post = (body) => send(body, headers);
  const operation = operationOf(params);
  if (operation?.name?.value === 'IntrospectionQuery') return post(params);
  const { variables, filled } = await fill(params.variables ?? {}, post);
  const request = { query: params.query, variables, operationName: operation?.name?.value };
  const subscribes = operation?.operation === 'subscription';
  session.begun({ filled, transport: subscribes ? session.transport : null });
  if (!subscribes) return post(request);
  const client =
    session.transport === 'ws'
      ? createSocketClient({ url: URL_HERE.replace(/^http/, 'ws'), connectionParams: headers, retryAttempts: 0 })
      : createSseClient({ url: URL_HERE, headers, retryAttempts: 0 });
  return watched(client, request, session);
};

async function send(body, headers) {
  const answer = await fetch(URL_HERE, {
    method: 'POST',
    headers: { ...headers, accept: ACCEPT, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return answer.json();
}

// After a quick change of tabs, GraphiQL's operation name can be stale. A document's only operation needs no name.
function operationOf({ query, operationName }) {
  try {
    const document = parse(query);
    return getOperationAST(document) ?? getOperationAST(document, operationName);
  } catch {
    return null; // the server reports the syntax error
  }
}

// Not an async generator: its return(), and with it the stop button, would wait for the next event.
function watched(client, request, session) {
  const events = client.iterate(request);
  const finish = () => (session.ended(), client.dispose());
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const step = await events.next();
        if (step.done) finish();
        else session.event(step.value);
        return step;
      } catch (error) {
        finish();
        throw await explained(error);
      }
    },
    async return() {
      finish();
      return events.return();
    },
  };
}

// Extracts the gateway's message from a client's error: a close frame, an HTTP error response, or a list of errors.
async function explained(error) {
  if (Array.isArray(error)) return new Error(error.map(({ message }) => message).join('\n'));
  if (typeof error?.code === 'number') return new Error(`The WebSocket was closed: ${error.code} ${error.reason}`);
  const body = await error?.response?.json?.().catch(() => null);
  return body?.errors ? new Error(body.errors.map(({ message }) => message).join('\n')) : error;
}
