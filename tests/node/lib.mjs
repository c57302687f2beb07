// What every script shares: its arguments, and one line of JSON per fact for the test that started it.
export const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
export const args = JSON.parse(process.argv[2]);
export const headers = { authorization: `Bearer ${args.token}` };

export const FIELDS = `__typename cursor ... on StreamStarted { stream { id } replayed } ... on TextDelta { text }
  ... on StreamEnded { outcome }`;
export const STREAM = `subscription Stream($id: ID!, $after: String) { stream(id: $id, after: $after) { ${FIELDS} } }`;
export const COMPLETION = `subscription Completion($i: CompletionInput!, $k: ID!) {
  completion(input: $i, streamKey: $k) { ${FIELDS} } }`;

/** Where a stream stands, asked by plain fetch. */
export const status = async (id) => {
  const query = 'query($id: ID!) { stream(id: $id) { status } }';
  const body = JSON.stringify({ query, variables: { id } });
  const answer = await fetch(`${args.url}/graphql`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body,
  });
  return (await answer.json()).data.stream.status;
};

/** Collects a stream's events; on the first token it asks whether the model is still talking. */
export const collector = () => {
  const events = [];
  let during;
  return {
    add(event) {
      events.push(event);
      if (event.__typename === 'TextDelta' && during === undefined) during = status(events[0].stream.id);
    },
    async result() {
      return {
        text: events.map((event) => event.text ?? '').join(''),
        ends: events.filter((event) => event.__typename === 'StreamEnded').length,
        outcome: events.at(-1).outcome,
        during: await during,
      };
    },
  };
};
