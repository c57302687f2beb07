// Apollo Client, which subscribes over HTTP by its multipart protocol: a stream, and a refusal that is a GraphQL error.
import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { args, collector, COMPLETION, headers, say, STREAM } from './lib.mjs';

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
let refusal;
try {
  await subscribe(STREAM, { id: 'stream:nope' }, () => {});
} catch (error) {
  refusal = { known: CombinedGraphQLErrors.is(error), code: error.errors?.[0].extensions.code };
}
say({ ...(await seen.result()), refusal });
