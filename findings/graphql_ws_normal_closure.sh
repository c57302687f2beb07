#!/usr/bin/env bash
# graphql-ws 6.4.2 subscribes again after a close with code 1000, although retryAttempts is 0.
#
# Guess before it was run: with retryAttempts: 0 a socket that the server closes in the middle of a subscription, with
# whatever code, ends the subscription: its sink gets an error, or completes, and nothing is sent again.
# Seen: for code 1000 the client connects again and sends the same subscribe message, every time, without the back-off of
# retryWait, for as long as the server closes so. For 1001 the sink gets the close event, as expected. A client that pays
# for each subscription, and turned retries off for that reason, pays again; a server that stops must not close with 1000.
#
# Output seen: "1000: 3 subscriptions, completed. 1001: 1 subscription, error 1001." (the third is completed by the server).
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund graphql-ws@6.4.2 graphql@16.11.0 ws@8.18.3
cat > try.mjs <<'JS'
import { createClient } from 'graphql-ws';
import WebSocket, { WebSocketServer } from 'ws';

async function tried(code) {
  let subscriptions = 0;
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'graphql-transport-ws' });
  server.on('connection', (socket) => {
    socket.on('message', (text) => {
      const message = JSON.parse(text);
      if (message.type === 'connection_init') socket.send(JSON.stringify({ type: 'connection_ack' }));
      if (message.type !== 'subscribe') return;
      subscriptions += 1;
      socket.send(JSON.stringify({ id: message.id, type: 'next', payload: { data: { n: subscriptions } } }));
      if (subscriptions === 3) socket.send(JSON.stringify({ id: message.id, type: 'complete' }));
      else socket.close(code);
    });
  });
  await new Promise((resolve) => server.once('listening', resolve));
  const client = createClient({
    url: `ws://127.0.0.1:${server.address().port}`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    retryWait: () => Promise.reject(new Error('retryWait was asked')),
  });
  const end = await new Promise((resolve) => {
    const sink = { next() {}, error: (error) => resolve(`error ${error.code}`), complete: () => resolve('completed') };
    client.subscribe({ query: 'subscription { n }' }, sink);
  });
  await client.dispose();
  server.close();
  return `${code}: ${subscriptions} subscription${subscriptions > 1 ? 's' : ''}, ${end}.`;
}

console.log(await tried(1000), await tried(1001));
process.exit(0);
JS
seen=$(node try.mjs)
echo "$seen"
[ "$seen" = "1000: 3 subscriptions, completed. 1001: 1 subscription, error 1001." ]
