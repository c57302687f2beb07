// supabase-js signs in, refreshes its token by itself, and graphql-ws reconnects with the new token and resumes.
import { createClient as createSupabase } from '@supabase/supabase-js';
import { createClient } from 'graphql-ws';
import OpenAI from 'openai';
import WebSocket from 'ws';
import { args, COMPLETION, say, STREAM } from './lib.mjs';

const supabase = createSupabase(args.supabase, 'sb_publishable_test', {
  auth: { persistSession: false, autoRefreshToken: true },
  realtime: { transport: WebSocket }, // Node.js 20 has no WebSocket of its own
});
const { data: signedIn, error } = await supabase.auth.signInWithPassword({ email: args.email, password: args.password });
if (error) throw error;

const tokens = new Set();
const token = async () => {
  const { data } = await supabase.auth.getSession();
  tokens.add(data.session.access_token);
  return data.session.access_token;
};
const ask = async (accept) => {
  const answer = await fetch(`${args.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await token()}`, 'content-type': 'application/json', accept },
    body: JSON.stringify({ query: '{ viewer { id } }' }),
  });
  return answer.text();
};
const http = JSON.parse(await ask('application/graphql-response+json'));
const sse = await ask('text/event-stream');
const openai = new OpenAI({ baseURL: `${args.url}/v1`, apiKey: await token(), maxRetries: 0 });
const models = [];
for await (const model of openai.models.list()) models.push(model.id);

let sockets = 0;
const client = createClient({
  url: `${args.url.replace(/^http/, 'ws')}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: async () => ({ authorization: `Bearer ${await token()}` }),
  retryAttempts: 5,
  retryWait: async () => {},
  on: { connected: () => (sockets += 1) },
});
const events = [];
const read = async (query, variables) => {
  for await (const { data, errors } of client.iterate({ query, variables })) {
    if (errors) throw new Error(JSON.stringify(errors));
    const event = Object.values(data)[0];
    if (event.__typename !== 'ReaderDetached') events.push(event);
  }
};
const isOver = () => events.at(-1)?.__typename === 'StreamEnded';
await read(COMPLETION, { i: args.input, k: args.key });
while (!isOver()) await read(STREAM, { id: events[0].stream.id, after: events.at(-1).cursor });
await client.dispose();
say({
  user: signedIn.user.id,
  http: http.data?.viewer.id,
  sse: sse.includes(`"id":"${http.data?.viewer.id}"`),
  models,
  tokens: tokens.size,
  sockets,
  text: events.map((event) => event.text ?? '').join(''),
  started: events.filter((event) => event.__typename === 'StreamStarted').length,
  ended: events.filter((event) => event.__typename === 'StreamEnded').length,
});
await supabase.auth.signOut();
process.exit(0);
