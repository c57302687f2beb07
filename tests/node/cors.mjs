// A page on port 5173 of localhost, in a real browser: what does it see of a refusal and of an answer?
import { createServer } from 'node:http';

export default async function ({ args, say, newContext }) {
  const page = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<title>page</title>'));
  await new Promise((up, fail) => page.once('error', fail).listen(5173, '127.0.0.1', up));
  try {
    const tab = await (await newContext()).newPage();
    await tab.goto('http://127.0.0.1:5173/');
    for (const token of args.tokens) {
      say(
        await tab.evaluate(
          async ([url, token]) => {
            const answer = await fetch(`${url}/graphql`, {
              method: 'POST',
              headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
              body: JSON.stringify({ query: '{ viewer { email } }' }),
            });
            return { status: answer.status, id: answer.headers.get('x-request-id'), body: await answer.json() };
          },
          [args.url, token],
        ),
      );
    }
  } finally {
    page.close();
    page.closeAllConnections();
  }
}
