// GraphiQL with nothing but its own server to reach: each saved operation is run, a subscription over either transport.
import { openGraphiQL, run, tabs } from './graphiql_page.mjs';

export default ({ args, say, browse }) =>
  browse(async (page, told) => {
    await openGraphiQL(page, args.url);
    const token = page.getByLabel('Token');
    say({ tabs: await tabs(page), token: await token.inputValue(), hint: await page.locator('#token-hint').textContent() });
    if (args.token) await token.fill(args.token);
    for (const { name, subscribes } of args.operations) {
      if (!subscribes) say({ name, ...(await run(page, name)) });
      else for (const transport of ['SSE', 'WebSocket']) say({ name, transport, ...(await run(page, name, transport)) });
    }
    say(told);
  });
