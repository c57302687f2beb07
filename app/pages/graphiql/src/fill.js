// Variables of saved operations contain placeholders such as <first agent>. They are resolved at each run, so that an
// operation works at once for every user.

const LOOK_UP = `query WhatIsMine {
  viewer {
    agents(first: 1) { nodes { id memoryBlocks(labels: ["human"]) { id value } } }
    streams { id }
  }
  models(mode: CHAT) { name }
}`;

const agent = (data) => data?.viewer?.agents?.nodes?.[0];
const block = (data) => agent(data)?.memoryBlocks?.[0];

const MEANING = {
  '<first agent>': [(data) => agent(data)?.id, 'You have no agent.'],
  '<first memory block>': [(data) => block(data)?.id, 'Your first agent has no memory block called human.'],
  '<current value>': [(data) => block(data)?.value, 'Your first agent has no memory block called human.'],
  '<first chat model>': [(data) => data?.models?.[0]?.name, 'Your key has no permission to call a chat model.'],
  '<today>': [() => day(0)],
  '<a month ago>': [() => day(-30)],
  '<last stream>': [(data) => data?.viewer?.streams?.at(-1)?.id, 'You have no stream: run SendMessage first.'],
};

// Returns the variables with all placeholders replaced, and the replacements. `post` sends a GraphQL request.
export async function fill(variables, post) {
  const found = new Set();
  walk(variables, (text) => (text === '<new key>' || Object.hasOwn(MEANING, text) ? found.add(text) && text : text));
  if (found.size === 0) return { variables, filled: {} };
  const filled = {};
  if (found.delete('<new key>')) filled['<new key>'] = newKey();
  if (found.size > 0) {
    const { data, errors } = await post({ query: LOOK_UP });
    for (const word of found) {
      const [read, otherwise] = MEANING[word];
      const value = read(data);
      if (value === undefined || value === null) throw new Error(errors?.[0]?.message ?? otherwise);
      filled[word] = value;
    }
  }
  return { variables: walk(variables, (text) => (Object.hasOwn(filled, text) ? filled[text] : text)), filled };
}

const day = (offset) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);

// crypto.randomUUID exists in secure contexts only: not on a plain http page of another machine.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, '0')).join('');

function walk(value, change) {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => walk(item, change));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, walk(item, change)]));
}
