// The openai Node SDK's own tool loop, whole and streamed: two tools are called, their results sent back, and it ends.
import OpenAI from 'openai';
import { args, say } from './lib.mjs';

const client = new OpenAI({ baseURL: `${args.url}/v1`, apiKey: args.token, maxRetries: 0 });
const parameters = { type: 'object', properties: { about: { type: 'string' } }, required: ['about'] };

const loop = async (options) => {
  const called = [];
  const tool = (name, result) => ({
    type: 'function',
    function: { name, parameters, parse: JSON.parse, function: () => (called.push(name), result) },
  });
  const runner = client.chat.completions.runTools(
    {
      model: args.model,
      messages: [{ role: 'user', content: args.words }],
      tools: [tool('roll', '4'), tool('weather', 'sunny')],
      ...options,
    },
    { maxChatCompletions: 6 },
  );
  let requests = 0;
  runner.on('chatCompletion', () => (requests += 1));
  return { called, text: await runner.finalContent(), requests };
};

for (const stream of [false, true]) {
  for (const parallel of [false, true]) say(await loop({ stream, parallel_tool_calls: parallel }));
}
