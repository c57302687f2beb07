// The GraphQL-over-HTTP audit of npm graphql-http, every one of its checks.
import { auditServer } from 'graphql-http';
import { args, say } from './lib.mjs';

const results = await auditServer({
  url: `${args.url}/graphql`,
  fetchFn: (url, options = {}) =>
    fetch(url, { ...options, headers: { ...options.headers, authorization: `Bearer ${args.token}` } }),
});
for (const { id, name, status, reason } of results) say({ id, name, status, reason });
