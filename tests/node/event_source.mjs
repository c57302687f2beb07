// EventSource on a page that knows nothing of `complete`: it reads until it closes by itself, or until `args.turns` ends.
// A server of the page's origin adds the token, and cuts connections: each after an event that has a text of `args.cuts`.
// A message of `args.messages` is sent when the page is connected, and after each turn.
import { createServer, request } from 'node:http';
import { args, headers, say } from './lib.mjs';

const SEND = `mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }`;
const requests = [];
const messages = args.messages ?? [];
const send = () => {
  const body = JSON.stringify({ query: SEND, variables: { i: messages.shift() } });
  const type = { 'content-type': 'application/json' };
  return fetch(`${args.url}/graphql`, { method: 'POST', headers: { ...headers, ...type }, body });
};
// Node's EventSource can close for good if a connection breaks before it has read the event; a browser's does not.
const cut = (answer) => (args.chromium ? setTimeout(() => answer.destroy(), 5) : answer.end());
const server = createServer((asked, answer) => {
  if (!asked.url.startsWith('/graphql')) return answer.writeHead(200, { 'content-type': 'text/html' }).end('<title>page</title>');
  const lastEventId = asked.headers['last-event-id'] ?? null;
  const forwarded = request(args.url + asked.url, { headers: { ...asked.headers, ...headers } }, (given) => {
    requests.push({ lastEventId, status: given.statusCode });
    if (requests.length === 1 && messages.length) send();
    answer.writeHead(given.statusCode, given.headers);
    let buffer = '';
    given.setEncoding('utf8').on('data', (chunk) => {
      const events = (buffer + chunk).split('\n\n');
      buffer = events.pop();
      for (const event of events) {
        answer.write(`${event}\n\n`);
        if (event.includes('StreamEnded') && messages.length) send();
        if (args.cuts.length && event.includes(args.cuts[0])) {
          args.cuts.shift();
          forwarded.destroy();
          return cut(answer);
        }
      }
    });
    given.on('end', () => answer.end());
    given.on('error', () => {});
  });
  forwarded.on('error', () => {}).end();
});
await new Promise((up) => server.listen(0, '127.0.0.1', up));
const origin = `http://127.0.0.1:${server.address().port}`;

// Runs in a page, or in Node.
const read = ([url, turns]) =>
  new Promise((read) => {
    const events = [];
    const source = new EventSource(url);
    const stop = () => read({ events, closed: source.readyState === 2 });
    source.addEventListener('next', ({ data, lastEventId }) => {
      const { data: root, errors } = JSON.parse(data);
      const event = root ? Object.values(root)[0] : { errors };
      events.push({ ...event, lastEventId });
      const ends = events.filter((one) => one.__typename === 'StreamEnded').length;
      if (errors || (turns && ends === turns)) stop();
    });
    source.addEventListener('error', () => source.readyState === 2 && stop());
  });

const query = `?${new URLSearchParams({ query: args.query, variables: JSON.stringify(args.variables) })}`;
const given = [`${origin}/graphql${query}`, args.turns ?? 0];
if (args.chromium) {
  const { chromium } = await import('playwright-core');
  const browser = await chromium.launch({ executablePath: args.chromium, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage();
  await page.goto(`${origin}/`);
  say({ ...(await page.evaluate(read, given)), requests });
  await browser.close();
} else {
  say({ ...(await read(given)), requests });
}
process.exit();
