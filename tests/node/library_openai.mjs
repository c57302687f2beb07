// openai-node.
import OpenAI from 'openai';
import { RESULT, serve, SIDES, TEXTS, TOWN } from './library.mjs';

const client = (ask) => new OpenAI({ baseURL: ask.base, apiKey: ask.token });
const messages = (ask) => [{ role: 'user', content: ask.prompt }];
const used = (usage) =>
  usage && {
    input: usage.prompt_tokens ?? usage.input_tokens,
    output: usage.completion_tokens ?? usage.output_tokens,
  };

const streamed = async (ask, texts, leave) => {
  let usage;
  if (ask.chats) {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await client(ask).chat.completions.create({ model: ask.model, messages: messages(ask), ...options });
    for await (const chunk of chunks) {
      usage = used(chunk.usage) ?? usage;
      if (chunk.choices[0]?.delta.content) texts.push(chunk.choices[0].delta.content);
      if (leave && texts.length) break;
    }
  } else {
    const events = await client(ask).responses.create({ model: ask.model, input: ask.prompt, stream: true });
    for await (const event of events) {
      if (event.type === 'response.output_text.delta') texts.push(event.delta);
      if (event.type === 'response.completed') usage = used(event.response.usage);
      if (['response.failed', 'response.incomplete'].includes(event.type)) return { told: `event \`${event.type}\`` };
      if (leave && texts.length) break;
    }
  }
  return { usage };
};

const chatTools = async (ask) => {
  const called = [];
  const roll = { name: 'roll', parameters: SIDES, parse: JSON.parse };
  const runner = client(ask).chat.completions.runTools({
    model: ask.model,
    messages: messages(ask),
    tools: [{ type: 'function', function: { ...roll, function: (given) => (called.push(['roll', given]), RESULT) } }],
  });
  return { text: await runner.finalContent(), called };
};

const responsesTools = async (ask) => {
  const called = [];
  const input = messages(ask);
  const tools = [{ type: 'function', name: 'roll', parameters: SIDES, strict: true }];
  for (;;) {
    const answer = await client(ask).responses.create({ model: ask.model, input, tools });
    const calls = answer.output.filter((item) => item.type === 'function_call');
    if (!calls.length) return { text: answer.output_text, called };
    input.push(...answer.output);
    for (const call of calls) {
      called.push([call.name, JSON.parse(call.arguments)]);
      input.push({ type: 'function_call_output', call_id: call.call_id, output: RESULT });
    }
  }
};

await serve(['openai'], {
  async models(ask) {
    const listed = [];
    for await (const model of client(ask).models.list()) listed.push(model.id);
    return { listed, retrieved: (await client(ask).models.retrieve(ask.model)).id };
  },
  async plain(ask) {
    if (!ask.chats) {
      const answer = await client(ask).responses.create({ model: ask.model, input: ask.prompt, ...ask.extra });
      return { text: answer.output_text, usage: used(answer.usage) };
    }
    const body = { model: ask.model, messages: messages(ask), ...ask.extra };
    const whole = await client(ask).chat.completions.create(body);
    return { text: whole.choices[0].message.content, usage: used(whole.usage) };
  },
  stream: (ask, texts) => streamed(ask, texts, false),
  tools: (ask) => (ask.chats ? chatTools(ask) : responsesTools(ask)),
  async structured(ask) {
    const format = { type: 'json_schema', name: 'town', schema: TOWN, strict: true };
    if (!ask.chats) {
      const asked = { model: ask.model, input: ask.prompt, text: { format } };
      return { value: (await client(ask).responses.parse(asked)).output_parsed };
    }
    const { type, ...schema } = format;
    const asked = { model: ask.model, messages: messages(ask), response_format: { type, json_schema: schema } };
    return { value: JSON.parse((await client(ask).chat.completions.parse(asked)).choices[0].message.content) };
  },
  async embeddings(ask) {
    const { data } = await client(ask).embeddings.create({ model: ask.model, input: TEXTS });
    return { vectors: data.map((one) => one.embedding) };
  },
  abort: (ask, texts) => streamed(ask, texts, true),
});
