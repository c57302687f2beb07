// npm graphql-sse in distinct connections mode: a stream. Refusals: refused.mjs.
import { createClient } from 'graphql-sse';
import { args, collector, COMPLETION, headers, say } from './lib.mjs';

const client = createClient({ url: `${args.url}/graphql`, headers, retryAttempts: 0 });
const seen = collector();
for await (const { data } of client.iterate({ query: COMPLETION, variables: { i: args.input, k: args.key } })) {
  seen.add(data.completion);
}
say(await seen.result());
client.dispose();
