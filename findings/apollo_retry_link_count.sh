#!/usr/bin/env bash
# The RetryLink of @apollo/client 4.3.8 counts a subscription's lost connections from its start, although events arrived
# after each retry. The subscription fails for good with its fifth lost connection, even if these are hours apart.
#
# Guess before it was run: "max 5 attempts" counts attempts that fail one after another, as graphql-ws and graphql-sse do.
# An attempt that delivers an event begins the count again, and the delay too.
# Seen: the fifth lost connection ends the subscription, and the delay doubles with each lost connection of its life.
#
# Output seen: "5 requests, 5 events, error terminated". The guess was 8 requests, 8 events, complete.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @apollo/client@4.3.8 graphql@16.11.0 rxjs@7.8.2
cat > try.mjs <<'JS'
import { createServer } from 'node:http';
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { RetryLink } from '@apollo/client/link/retry';

let requests = 0;
const server = createServer((_, answer) => {
  requests += 1;
  answer.writeHead(200, { 'content-type': 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0' });
  const part = JSON.stringify({ payload: { data: { n: requests } } });
  answer.write(`\r\n--graphql\r\ncontent-type: application/json\r\n\r\n${part}\r\n--graphql`);
  if (requests === 8) answer.end('--\r\n');
  else setTimeout(() => answer.destroy(), 50);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const http = new HttpLink({ uri: `http://127.0.0.1:${server.address().port}` });
const link = new RetryLink({ delay: { initial: 1 } }).concat(http);
const client = new ApolloClient({ link, cache: new InMemoryCache() });
let events = 0;
const end = await new Promise((resolve) =>
  client.subscribe({ query: gql('subscription { n }') }).subscribe({
    next: ({ data, error }) => (data ? (events += 1) : resolve(`error ${error.message}`)),
    error: (error) => resolve(`error ${error.message}`),
    complete: () => resolve('complete'),
  }),
);
console.log(`${requests} requests, ${events} events, ${end}`);
process.exit(0);
JS
seen=$(node try.mjs)
echo "$seen"
[ "$seen" = "5 requests, 5 events, error terminated" ]
