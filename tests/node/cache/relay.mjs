// Relay: @appendEdge and @prependEdge do the work; one updater keeps the ends of a list right.
import { createClient } from 'graphql-ws';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import compiler from 'relay-compiler';
import relay from 'relay-runtime';
import WebSocket from 'ws';
import { args } from '../lib.mjs';
import { counted, ownerOf, scenario } from './scenario.mjs';

const { ConnectionHandler, Environment, Network, Observable, RecordSource, Store } = relay;
const folder = new URL('relay/', import.meta.url);
mkdirSync(new URL('__generated__/', folder), { recursive: true });
execFileSync(compiler, ['relay.config.json'], { cwd: folder });
const document = async (name) => (await import(`./relay/__generated__/chat${name}.graphql.js`)).default;
const [Agent, Conversation, Conversations] = await Promise.all(
  ['AgentQuery', 'ConversationQuery', 'ConversationsQuery'].map(document),
);
const [Send, Respond, Start] = await Promise.all(['SendMutation', 'RespondMutation', 'StartMutation'].map(document));
const [Follow, Say] = await Promise.all(['FollowSubscription', 'SaySubscription'].map(document));
const QUERIES = { Agent, Conversation };
const FIELD = { Agent: 'agent', Conversation: 'conversation' };

/** Updates the cursors of `pageInfo`, which @appendEdge does not change. */
function keepEnds(store, connectionId) {
  const list = store.get(connectionId);
  const edges = list?.getLinkedRecords('edges');
  const pageInfo = list?.getLinkedRecord('pageInfo');
  pageInfo?.setValue(edges[0]?.getValue('cursor') ?? null, 'startCursor');
  pageInfo?.setValue(edges.at(-1)?.getValue('cursor') ?? null, 'endCursor');
}

/** Removes the messages of a failed turn that Letta has not stored. */
function dropUnstored(store, connectionId) {
  const list = store.get(connectionId);
  for (const edge of list?.getLinkedRecords('edges') ?? []) {
    const node = edge.getLinkedRecord('node');
    if (node.getValue('createdAt') === null) ConnectionHandler.deleteNode(list, node.getDataID());
  }
}

function makeClient() {
  const { count, send } = counted();
  const sockets = createClient({
    url: args.url.replace(/^http/, 'ws') + '/graphql',
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${args.token}` },
  });
  const fetchQuery = async ({ text: query }, variables) => {
    const body = JSON.stringify({ query, variables });
    const answer = await send(`${args.url}/graphql`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    return answer.json();
  };
  const subscribe = ({ text: query }, variables) =>
    Observable.create((sink) => sockets.subscribe({ query, variables }, sink));
  const environment = new Environment({
    network: Network.create(fetchQuery, subscribe),
    store: new Store(new RecordSource()),
  });

  const opened = new Map(); // by owner or document, the operation whose data is on the page
  const query = (document, variables) => relay.fetchQuery(environment, document, variables).toPromise();
  const open = async (key, document, variables) => {
    const operation = relay.createOperationDescriptor(document, variables);
    environment.retain(operation);
    opened.set(key, operation);
    await query(document, variables);
  };
  const held = (key) => {
    const { data, isMissingData } = environment.lookup(opened.get(key).fragment);
    if (isMissingData) throw new Error('the cache lacks something');
    return data;
  };
  const list = (owner) => held(owner.id)[FIELD[owner.__typename]].messages;
  const messagesOf = (owner) => ConnectionHandler.getConnectionID(owner.id, `${owner.__typename}_messages`);
  const commit = (mutation, variables, updater) =>
    new Promise((resolve, reject) =>
      relay.commitMutation(environment, {
        mutation,
        variables,
        updater,
        onCompleted: (data, errors) => (errors ? reject(new Error(JSON.stringify(errors))) : resolve(data)),
        onError: reject,
      }),
    );
  const listen = (subscription, variables, owner) =>
    new Promise((resolve, reject) => {
      let last;
      relay.requestSubscription(environment, {
        subscription,
        variables: { ...variables, lists: [messagesOf(owner)] },
        updater(store, data) {
          const { outcome } = Object.values(data)[0];
          if (outcome && outcome !== 'COMPLETED') dropUnstored(store, messagesOf(owner));
          keepEnds(store, messagesOf(owner));
        },
        onNext: (data) => (last = Object.values(data)[0]),
        onError: reject,
        onCompleted: () => resolve(last),
      });
    });

  return {
    count,
    cached: list,
    cachedConversations: () => held(Conversations).agent.conversations,
    openConversations: (id) => open(Conversations, Conversations, { id }),
    open: (owner, last) => open(owner.id, QUERIES[owner.__typename], { id: owner.id, last }),
    older: (owner) =>
      query(QUERIES[owner.__typename], { id: owner.id, last: 20, before: list(owner).pageInfo.startCursor }),
    async startConversation(agentId) {
      const id = ConnectionHandler.getConnectionID(agentId, 'Agent_conversations');
      const input = { agentId, summary: 'A new one' };
      const data = await commit(Start, { input, lists: [id] }, (store) => keepEnds(store, id));
      return data.createConversation.conversationEdge.node.id;
    },
    async send(input) {
      const id = messagesOf(ownerOf(input.to));
      return (await commit(Send, { input, lists: [id] }, (store) => keepEnds(store, id))).sendMessage.stream.id;
    },
    respond: async (input) => (await commit(Respond, { input })).respondToApproval.stream.id,
    follow: (id, owner) => listen(Follow, { id }, owner),
    say: (input, streamKey) => listen(Say, { input, streamKey }, ownerOf(input.to)),
    close: () => sockets.dispose(),
  };
}

await scenario(makeClient);
