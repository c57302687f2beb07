// Automatic persisted queries, as Apollo's link and urql's exchange send them: what goes over the wire for three queries.
import { createHash } from 'node:crypto';
import { args, headers, say } from './lib.mjs';

const url = `${args.url}/graphql`;
const QUERIES = ['query A { viewer { email } }', 'query B { viewer { id } }', 'query A { viewer { email } }'];
const sent = [];
const noted = (address, options) => {
  const given = options.method === 'GET' ? Object.fromEntries(new URL(address).searchParams) : JSON.parse(options.body);
  sent.push({ method: options.method, query: !!given.query, hash: JSON.stringify(given.extensions ?? '').includes('sha256Hash') });
  return fetch(address, options);
};
const sha256 = async (text) => createHash('sha256').update(text).digest('hex');

const apollo = async (useGETForHashedQueries) => {
  const { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } = await import('@apollo/client');
  const { PersistedQueryLink } = await import('@apollo/client/link/persisted-queries');
  const http = new HttpLink({ uri: url, headers, fetch: noted });
  const link = ApolloLink.from([new PersistedQueryLink({ sha256, useGETForHashedQueries }), http]);
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  return async (query) => (await client.query({ query: gql(query), fetchPolicy: 'network-only' })).data;
};
const urql = async (preferGetForPersistedQueries) => {
  const { Client, fetchExchange } = await import('@urql/core');
  const { persistedExchange } = await import('@urql/exchange-persisted');
  const exchanges = [persistedExchange({ preferGetForPersistedQueries }), fetchExchange];
  const client = new Client({ url, exchanges, fetch: noted, preferGetMethod: false, fetchOptions: { headers } });
  return async (query) => {
    const { data, error } = await client.query(query, {}).toPromise();
    if (error) throw error;
    return data;
  };
};

const ask = await { apollo, urql }[args.client](args.get);
const emails = [];
for (const query of QUERIES) emails.push((await ask(query)).viewer.email ?? null);
say({ emails, sent });
