// Apollo Client, which subscribes over HTTP by its multipart protocol: a stream. Refusals: refused.mjs.
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { args, collector, COMPLETION, headers, say } from './lib.mjs';

const link = new HttpLink({ uri: `${args.url}/graphql`, headers });
const client = new ApolloClient({ link, cache: new InMemoryCache() });
const subscribe = (query, variables, add) =>
  new Promise((resolve, reject) =>
    client.subscribe({ query: gql(query), variables }).subscribe({
      next: ({ data, error }) => (error ? reject(error) : add(Object.values(data)[0])),
      error: reject,
      complete: resolve,
    }),
  );

const seen = collector();
await subscribe(COMPLETION, { i: args.input, k: args.key }, seen.add);
say(await seen.result());
