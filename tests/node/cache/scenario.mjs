// A chat page's afternoon, told to one client: it opens lists, talks, and never asks again. What its cache then holds is
// printed beside what a new client is answered.
import { args, headers, say } from '../lib.mjs';

/** How many messages a list is opened with: few, so that there are older ones to scroll up to. */
export const NEWEST = 2;

/** A `fetch` that carries the token and counts the queries. */
export function counted() {
  const count = { queries: 0 };
  const send = (url, options) => {
    count.queries += /^\s*query/.test(JSON.parse(options.body).query);
    return fetch(url, { ...options, headers: { ...options.headers, ...headers } });
  };
  return { count, send };
}

/** The id of the list's owner, by where a message goes. */
export const ownerOf = (to) =>
  to.agentId ? { __typename: 'Agent', id: to.agentId } : { __typename: 'Conversation', id: to.conversationId };

export async function scenario(makeClient) {
  const client = makeClient();
  const agent = { __typename: 'Agent', id: args.agent };
  await client.openConversations(agent.id);
  await client.open(agent, NEWEST);
  await client.older(agent);
  const conversation = { __typename: 'Conversation', id: await client.startConversation(args.agent) };
  await client.open(conversation, NEWEST);
  const asked = client.count.queries;

  const ends = [];
  const send = async (to, text) => {
    const streamId = await client.send({ to, content: [{ text }], idempotencyKey: crypto.randomUUID() });
    ends.push(await client.follow(streamId, ownerOf(to)));
  };
  await send({ agentId: agent.id }, args.words.tool);
  await send({ agentId: agent.id }, args.words.approval);
  const request = client.cached(agent).edges.at(-1).node;
  const decided = await client.respond({ requestId: request.id, decision: 'APPROVE' }, agent);
  ends.push(await client.follow(decided, agent));
  await send({ conversationId: conversation.id }, args.words.plain);
  const said = { to: { conversationId: conversation.id }, content: [{ text: args.words.plain }] };
  ends.push(await client.say(said, crypto.randomUUID()));
  await send({ conversationId: conversation.id }, args.words.failing);

  const fresh = makeClient();
  await fresh.openConversations(agent.id);
  for (const owner of [agent, conversation]) {
    await fresh.open(owner, client.cached(owner).edges.length);
    say({ what: owner.__typename, cached: client.cached(owner), fresh: fresh.cached(owner) });
  }
  say({ what: 'conversations', cached: client.cachedConversations(agent.id), fresh: fresh.cachedConversations(agent.id) });
  say({ ends, refetches: client.count.queries - asked });
  await Promise.all([client.close?.(), fresh.close?.()]);
}
