import { cacheExchange } from '@urql/exchange-graphcache';
import { Client, fetchExchange, makeOperation, mapExchange } from 'urql';
import { cacheOptions } from './cache';
import { problemOf } from './errors';
import { reportTrouble } from './services';
import { refuse, token } from './session';

/** Creates a client with its own cache, for one user. */
export function makeClient(): Client {
  return new Client({
    url: '/graphql',
    preferGetMethod: false,
    fetchSubscriptions: true, // GraphQL over SSE, by fetch: it can carry the token in a header
    exchanges: [signedIn, cacheExchange(cacheOptions), fetchExchange],
  });
}

/** Adds the current token to every operation. If the gateway refuses it, exactly that token is invalid. */
const signedIn = mapExchange({
  onOperation(operation) {
    const used = token();
    const fetchOptions = { headers: { authorization: `Bearer ${used}` } };
    return makeOperation(operation.kind, operation, { ...operation.context, fetchOptions, token: used });
  },
  onError(error, operation) {
    const problem = problemOf(error);
    if (problem.code === 'UNAUTHENTICATED') {
      refuse(String(operation.context.token));
    } else if (problem.service !== null || problem.code === 'NETWORK') {
      reportTrouble();
    }
  },
});
