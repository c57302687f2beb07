// A graphql-ws client: streams, is cut off in the middle, resumes by cursor, sends the same key again.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { args, say } from './lib.mjs';

const client = (lazyCloseTimeout = 0) =>
  createClient({
    url: args.url.replace(/^http/, 'ws') + '/graphql',
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${args.token}` },
    retryAttempts: 0,
    lazyCloseTimeout,
  });
const FIELDS = `__typename cursor ... on StreamStarted { stream { id } replayed } ... on TextDelta { text }
  ... on StreamEnded { outcome }`;
const name = args.kind === 'message' ? 'message' : 'completion';
const input = args.kind === 'message' ? 'SendMessageInput' : 'CompletionInput';
const START = `subscription($i: ${input}!, $k: ID!) { ${name}(input: $i, streamKey: $k) { ${FIELDS} } }`;
const STREAM = `subscription($id: ID!, $after: String) { stream(id: $id, after: $after) { ${FIELDS} } }`;

const read = async (ws, query, variables, stop = () => false) => {
  const events = [];
  for await (const { data, errors } of ws.iterate({ query, variables })) {
    if (errors) throw new Error(JSON.stringify(errors));
    events.push(Object.values(data)[0]);
    if (stop(events)) break;
  }
  return events;
};
const text = (events) => events.map((e) => e.text ?? '').join('');
const ends = (events) => events.filter((e) => e.__typename === 'StreamEnded').length;

const variables = { i: args.input, k: args.key };
const first = client();
const begun = await read(first, START, variables, (events) => text(events).length > 20);
await first.dispose();
const second = client();
const rest = await read(second, STREAM, { id: begun[0].stream.id, after: begun.at(-1).cursor });
const again = await read(second, START, variables);
await second.dispose();
say({
  text: text([...begun, ...rest]),
  ends: ends([...begun, ...rest]),
  partial: text(begun).length,
  replayed: again[0].replayed,
  again: text(again),
});
