// npm graphql-sse in distinct connections mode: a stream, and a refusal that is a status code.
import { createClient } from 'graphql-sse';
import { args, collector, COMPLETION, headers, say, STREAM } from './lib.mjs';

const client = createClient({ url: `${args.url}/graphql`, headers, retryAttempts: 0 });
const seen = collector();
for await (const { data } of client.iterate({ query: COMPLETION, variables: { i: args.input, k: args.key } })) {
  seen.add(data.completion);
}
let refusal;
try {
  for await (const _ of client.iterate({ query: STREAM, variables: { id: 'stream:nope' } }));
} catch (error) {
  refusal = { status: error.response.status, code: (await error.response.json()).errors[0].extensions.code };
}
say({ ...(await seen.result()), refusal });
client.dispose();
