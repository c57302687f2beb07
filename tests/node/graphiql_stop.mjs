// A stream that would run for minutes is stopped at the button, over each transport.
import { openGraphiQL } from './graphiql_page.mjs';

const QUERY = `subscription Long($key: ID!) {
  completion(streamKey: $key, input: {model: "gpt-4o-mini", messages: [{role: USER, content: "[[tokens=5000 delay=0.05]]"}]}) {
    ... on TextDelta { text }
  }
}`;

export default ({ args, say, browse }) =>
  browse(async (page) => {
    await page.addInitScript((query) => {
      const tab = { id: '1', hash: '', title: 'Long', operationName: 'Long', headers: null, response: null };
      const tabs = [{ ...tab, query, variables: '{ "key": "<new key>" }' }];
      localStorage.setItem('graphiql:tabState', JSON.stringify({ activeTabIndex: 0, tabs }));
      localStorage.setItem('graphiql:query', query);
      localStorage.setItem('graphiql:variables', tabs[0].variables);
    }, QUERY);
    await openGraphiQL(page, args.url);
    const seen = {};
    for (const transport of args.transports) {
      await page.getByRole('radio', { name: transport }).check();
      await page.locator('.graphiql-execute-button').click();
      await page.locator('.run', { hasText: transport }).locator('.text', { hasText: 'tok3' }).waitFor();
      await page.locator('.graphiql-execute-button').click();
      const facts = page.locator('.run .facts', { hasText: 'STOPPED' });
      await facts.waitFor();
      seen[transport] = (await facts.textContent()).split(': ')[1];
    }
    say(seen);
  });
