// GraphiQL with nothing but its own server to reach: each saved operation is run, over either transport.
import { browse } from './browser.mjs';
import { openGraphiQL, over, run, tabs } from './graphiql_page.mjs';
import { args, say } from './lib.mjs';

await browse(async (page, told) => {
  await openGraphiQL(page);
  say({ tabs: await tabs(page), token: await page.getByLabel('Token').inputValue() });
  for (const { name, subscribes } of args.operations) {
    for (const transport of subscribes ? ['SSE', 'WebSocket'] : ['SSE']) {
      await over(page, transport);
      say({ name, transport, ...(await run(page, name, subscribes)) });
    }
  }
  say(told);
});
