// The REST door's description.
export default ({ args, say, browse }) =>
  browse(async (page, told) => {
    await page.goto(`${args.url}/docs`);
    await page.getByText('/v1/chat/completions').first().waitFor();
    say(told);
  });
