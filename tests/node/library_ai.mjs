// What both providers of the AI SDK share.
import { embedMany, generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai';
import { RESULT, serve, SIDES, TEXTS, TOWN } from './library.mjs';

const used = (usage) => ({ input: usage.inputTokens, output: usage.outputTokens });

/** Serves the cases. `chat(ask)` and `embedding(ask)` are a provider's models. */
export const serveAi = (provider, { chat, embedding, takesExtra = false }) => {
  const streamed = async (ask, texts, leave) => {
    const left = new AbortController();
    let failed;
    const result = streamText({
      model: chat(ask),
      prompt: ask.prompt,
      abortSignal: left.signal,
      onError: ({ error }) => {
        failed = error;
      },
    });
    for await (const text of result.textStream) {
      texts.push(text);
      if (leave) {
        left.abort();
        break;
      }
    }
    if (failed) return { told: `ends, and \`onError\` gets \`${failed.name}\`` };
    return leave ? {} : { usage: used(await result.totalUsage) };
  };
  return serve([provider, 'ai'], {
    async plain(ask) {
      if (ask.extra && !takesExtra) return { lacks: true };
      const { text, totalUsage } = await generateText({ model: chat(ask), prompt: ask.prompt });
      return { text, usage: used(totalUsage) };
    },
    stream: (ask, texts) => streamed(ask, texts, false),
    async tools(ask) {
      const called = [];
      const execute = (given) => (called.push(['roll', given]), RESULT);
      const roll = tool({ description: 'Roll a die.', inputSchema: jsonSchema(SIDES), execute });
      const asked = { model: chat(ask), prompt: ask.prompt, tools: { roll }, stopWhen: isStepCount(4) };
      return { text: (await generateText(asked)).text, called };
    },
    async structured(ask) {
      const output = Output.object({ schema: jsonSchema(TOWN) });
      return { value: (await generateText({ model: chat(ask), prompt: ask.prompt, output })).output };
    },
    async embeddings(ask) {
      return { vectors: (await embedMany({ model: embedding(ask), values: TEXTS })).embeddings };
    },
    abort: (ask, texts) => streamed(ask, texts, true),
  });
};
