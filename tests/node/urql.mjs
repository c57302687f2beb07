// urql, which subscribes over SSE by its own fetchExchange: a stream. Refusals: refused.mjs.
import { Client, fetchExchange } from '@urql/core';
import { args, collector, COMPLETION, headers, say } from './lib.mjs';

const client = new Client({
  url: `${args.url}/graphql`,
  exchanges: [fetchExchange],
  fetchSubscriptions: true,
  preferGetMethod: false,
  fetchOptions: { headers },
});
const subscribe = (query, variables, add) =>
  new Promise((resolve, reject) => {
    let last; // urql tells the end of a stream by its last result once more, without hasNext
    client.subscription(query, variables).subscribe(({ data, error, hasNext }) => {
      if (error) reject(error);
      else if (data && data !== last) add(Object.values((last = data))[0]);
      if (!hasNext) resolve();
    });
  });

const seen = collector();
await subscribe(COMPLETION, { i: args.input, k: args.key }, seen.add);
say(await seen.result());
