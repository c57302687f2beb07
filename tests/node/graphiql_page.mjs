// GraphiQL as a person uses it.
const isAnswerTo = (name) => (answer) =>
  answer.url().endsWith('/graphql') && answer.request().postData()?.includes(`"operationName":"${name}"`);

// Opens it. It is ready once the schema has come and the editors are there.
export async function openGraphiQL(page, url) {
  const schema = page.waitForResponse(isAnswerTo('IntrospectionQuery'));
  await page.goto(`${url}/graphql`);
  await (await schema).finished();
  await page.locator('.graphiql-query-editor .view-line').first().waitFor();
}

export const tabs = (page) => page.locator('.graphiql-tab-button').allTextContents();

// Goes to a tab and presses Execute. For a query or mutation, the answer; for a subscription over a transport, what the
// pane under the answer says at its end.
export async function run(page, name, transport) {
  await page.locator('.graphiql-tab-button', { hasText: new RegExp(`^${name}$`) }).click();
  await page.locator('.graphiql-query-editor .view-lines').getByText(new RegExp(`${name}\\b`)).first().waitFor();
  if (transport) await page.getByRole('radio', { name: transport }).check();
  const answer = transport ? null : page.waitForResponse(isAnswerTo(name));
  await page.locator('.graphiql-execute-button').click();
  if (answer) {
    const body = await (await answer).json();
    await page.locator('.graphiql-response .view-lines').getByText('data').first().waitFor();
    return body;
  }
  const facts = page.locator('.run .facts', { hasText: new RegExp(`${transport}: (COMPLETED|FAILED|CANCELLED|STOPPED)`) });
  await facts.waitFor();
  return { facts: await facts.textContent(), text: await page.locator('.run .text').textContent() };
}
