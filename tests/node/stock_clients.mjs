// Clients with their default retries. Each reads a turn of its own. A client says when `args.tokens` tokens have come,
// and what it shows when the turn has ended.
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { RetryLink } from '@apollo/client/link/retry';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { EventSource } from 'eventsource';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';
import { args, FIELDS, headers, say, STREAM } from './lib.mjs';

const uri = `${args.url}/graphql`;
const MESSAGE = `subscription($i: SendMessageInput!, $k: ID!) { message(input: $i, streamKey: $k) { ${FIELDS} } }`;
const SEND = `mutation($i: SendMessageInput!) { sendMessage(input: $i) { stream { id } errors { message } } }`;

const ws = (options) =>
  createWs({ url: uri.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: headers, ...options });
const sse = () => createSse({ url: uri, headers });
/** A graphql-ws client whose second connection is refused. */
const refused = (options) => {
  let connections = 0;
  return ws({ ...options, url: () => (++connections === 2 ? args.closed : uri).replace('http', 'ws') });
};

const library = (client) => (variables, sink) => client().subscribe({ query: MESSAGE, variables }, sink);

const apollo = (link) => (variables, sink) =>
  new ApolloClient({ link: link(), cache: new InMemoryCache() }).subscribe({ query: gql(MESSAGE), variables }).subscribe({
    ...sink,
    next: ({ data, error }) => (error ? sink.error(error) : sink.next({ data })),
  });
const retryLink = () => {
  const link = new RetryLink().concat(new HttpLink({ uri, headers }));
  return link;
};

const urql = (exchange, options) => (variables, sink) => {
  let last; // urql tells the end of a stream by its last result once more, without hasNext
  new Client({ url: uri, preferGetMethod: false, fetchOptions: { headers }, exchanges: [exchange()], ...options })
    .subscription(MESSAGE, variables)
    .subscribe(({ data, error, hasNext }) => {
      if (error) return sink.error(error);
      if (data && data !== last) sink.next({ data: (last = data) });
      if (!hasNext) sink.complete();
    });
};
const over = (create) => () => {
  const client = create();
  const exchange = subscriptionExchange({
    forwardSubscription: ({ query, variables }) => ({
      subscribe: (sink) => ({ unsubscribe: client.subscribe({ query, variables }, sink) }),
    }),
  });
  return exchange;
};

/** Sends the message by a mutation, and reads its stream by GET. */
const eventSource = async ({ i, k }, sink) => {
  const body = JSON.stringify({ query: SEND, variables: { i: { ...i, idempotencyKey: k } } });
  const type = { 'content-type': 'application/json' };
  const answer = await fetch(uri, { method: 'POST', headers: { ...headers, ...type }, body });
  const { id } = (await answer.json()).data.sendMessage.stream;
  const variables = JSON.stringify({ id });
  const source = new EventSource(`${uri}?${new URLSearchParams({ query: STREAM, variables })}`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  });
  let opened = 0;
  source.addEventListener('open', () => opened++ && sink.resumed());
  source.addEventListener('next', ({ data }) => sink.next(JSON.parse(data)));
  source.addEventListener('complete', () => {
    source.close();
    sink.complete();
  });
  source.addEventListener('error', () => source.readyState === source.CLOSED && sink.error(new Error('closed')));
};

const CLIENTS = {
  'graphql-ws': library(ws),
  'graphql-ws, refused': library(refused),
  'graphql-ws, refused, shouldRetry': library(() => refused({ shouldRetry: () => true, retryWait: async () => {} })),
  'graphql-sse': library(sse),
  'Apollo Client, GraphQLWsLink': apollo(() => new GraphQLWsLink(ws())),
  'Apollo Client, HttpLink': apollo(() => new HttpLink({ uri, headers })),
  'Apollo Client, HttpLink, RetryLink': apollo(retryLink),
  'urql, graphql-ws': urql(over(ws)),
  'urql, graphql-sse': urql(over(sse)),
  'urql, fetchExchange': urql(() => fetchExchange, { fetchSubscriptions: true }),
  EventSource: eventSource,
};

/** Reads a turn as an application does: if `replayed` is true, it discards the text. */
const read = (client, variables) =>
  new Promise((resolve) => {
    const turn = { client, text: '', resumed: 0, outcomes: [], failed: null };
    let [begun, ended] = [false, false];
    const end = (failed) => {
      if (!ended) say({ ...turn, failed });
      ended = true;
      resolve();
    };
    CLIENTS[client](variables, {
      next({ data, errors }) {
        if (errors) return end(errors[0].message);
        const [event] = Object.values(data);
        if (event.replayed && turn.text) {
          turn.text = '';
          turn.resumed++;
        }
        turn.text += event.text ?? '';
        if (event.__typename === 'StreamEnded') turn.outcomes.push(event.outcome);
        if (begun || turn.text.split(' ').length <= args.tokens) return;
        begun = true;
        say({ client });
      },
      resumed: () => turn.resumed++,
      error: (error) => end(String(error.message || error.code || error)),
      complete: () => end(null),
    });
  });

await Promise.all(Object.entries(args.turns).map(([client, variables]) => read(client, variables)));
process.exit();
