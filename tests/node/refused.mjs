// What a client's code sees of a refused subscription, with the client's own retries: the code, the requests, the end.
// Only the library under test is imported: Apollo's takes half a second.
import { args, say } from './lib.mjs';

const url = `${args.url}/graphql`;
let requests = 0;
const counted = (...given) => ((requests += 1), fetch(...given));
const headersOf = ({ token }) => (token ? { authorization: `Bearer ${token}` } : {});

const clients = {
  'graphql-sse': ({ createClient }, one) =>
    new Promise((ended) => {
      const client = createClient({ url, headers: headersOf(one), fetchFn: counted });
      const seen = { codes: [] };
      client.subscribe(one, {
        next: ({ errors }) => seen.codes.push(...(errors ?? []).map((error) => error.extensions.code)),
        error: (error) => ended({ ...seen, failed: error.message }),
        complete: () => ended(seen),
      });
    }),
  '@urql/core': ({ Client, fetchExchange }, one) =>
    new Promise((ended) => {
      const options = { exchanges: [fetchExchange], fetchSubscriptions: true, preferGetMethod: false };
      const client = new Client({ url, fetch: counted, fetchOptions: { headers: headersOf(one) }, ...options });
      let codes = []; // urql tells the end of a stream by its last result once more, without hasNext
      client.subscription(one.query, one.variables).subscribe(({ error, hasNext }) => {
        codes = (error?.graphQLErrors ?? []).map(({ extensions }) => extensions.code);
        if (!hasNext) ended({ codes, ...(error?.networkError ? { failed: error.networkError.message } : {}) });
      });
    }),
  '@apollo/client': ({ ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache }, one) =>
    new Promise((ended) => {
      const link = new HttpLink({ uri: url, headers: headersOf(one), fetch: counted });
      const client = new ApolloClient({ link, cache: new InMemoryCache() });
      const seen = { codes: [] };
      client.subscribe({ query: gql(one.query), variables: one.variables }).subscribe({
        next: ({ error }) => {
          if (CombinedGraphQLErrors.is(error)) seen.codes.push(...error.errors.map(({ extensions }) => extensions.code));
          else if (error) seen.failed = `${error.name}: ${error.message}`;
        },
        error: (error) => ended({ ...seen, failed: `${error.name}: ${error.message}` }),
        complete: () => ended(seen),
      });
    }),
};

const library = await import(args.client);
for (const one of args.cases) {
  requests = 0;
  const began = performance.now();
  const late = new Promise((ended) => setTimeout(() => ended({ never: true }), args.seconds * 1000));
  const seen = await Promise.race([clients[args.client](library, one), late]);
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  say({ name: one.name, ...seen, requests, ...(args.measure ? { seconds } : {}) });
}
process.exit();
