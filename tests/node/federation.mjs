// The graph as a subgraph: composed with a second one by each of two composers, and asked through Apollo's gateway.
// Whatever a library has to say on the console is told to the test as well.
import { createServer } from 'node:http';
import { ApolloGateway, RemoteGraphQLDataSource } from '@apollo/gateway';
import { composeServices as composeByApollo } from '@apollo/composition';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { composeServices as composeByTheGuild } from '@theguild/federation-composition';
import { parse } from 'graphql';
import { createHandler } from 'graphql-http/lib/use/http';
import { args, headers, say } from './lib.mjs';

const { tickets } = args;
for (const level of ['warn', 'error']) console[level] = (...words) => say({ told: words.join(' ') });
const CRM = parse(`
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])
  type Query { tickets(first: Int): TicketConnection! }
  type TicketConnection { nodes: [Ticket!]! pageInfo: PageInfo! }
  type PageInfo @shareable { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  interface Node { id: ID! }
  type Ticket implements Node @key(fields: "id") { id: ID! subject: String! assignedAgent: Agent customer: User }
  type Agent @key(fields: "id") { id: ID! tickets: [Ticket!]! }
  type User @key(fields: "id", resolvable: false) { id: ID! }
`);
const crm = buildSubgraphSchema({
  typeDefs: CRM,
  resolvers: {
    Query: { tickets: () => ({ nodes: tickets, pageInfo: { hasNextPage: false, hasPreviousPage: false } }) },
    Ticket: {
      assignedAgent: ({ agentId }) => ({ id: agentId }),
      customer: ({ userId }) => ({ id: `user:${userId}` }), // a key that another subgraph computes
    },
    Agent: { tickets: ({ id }) => tickets.filter(({ agentId }) => agentId === id) },
  },
});

const server = createServer(createHandler({ schema: crm }));
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const asked = await fetch(`${args.url}/graphql`, {
  method: 'POST',
  headers: { ...headers, 'content-type': 'application/json' },
  body: JSON.stringify({ query: 'query Sdl { _service { sdl } }' }),
});
const { sdl } = (await asked.json()).data._service;
const subgraphs = [
  { name: 'agentgraph', typeDefs: parse(sdl), url: `${args.url}/graphql` },
  { name: 'crm', typeDefs: CRM, url: `http://127.0.0.1:${server.address().port}/graphql` },
];

/** The source of one subgraph; it counts what it is asked, and hands the caller's token on. */
const source = (url, counts) =>
  new RemoteGraphQLDataSource({
    url,
    willSendRequest({ request, context }) {
      counts[url] += 1;
      request.http.headers.set('authorization', context.authorization ?? ''); // none while it loads
    },
  });

const QUERIES = {
  theirs: `{ tickets { nodes { subject assignedAgent { name model { name } } customer { email } } } }`,
  ours: '{ viewer { agents(first: 100) { nodes { name tickets { subject } } } } }',
};

/** The types of a supergraph, and its root fields, that need a signed-in user or a scope. */
function ruled(supergraphSdl) {
  const rules = (node) => (node.directives ?? []).some(({ name }) => /^(authenticated|requiresScopes)$/.test(name.value));
  return parse(supergraphSdl).definitions.flatMap((kind) => [
    ...(rules(kind) ? [kind.name.value] : []),
    ...(kind.fields ?? []).filter(rules).map((field) => `${kind.name.value}.${field.name.value}`),
  ]);
}

/** What a gateway over a supergraph answers to each query, and how often it asks us. */
async function ask(composer, supergraphSdl) {
  const counts = {};
  const gateway = new ApolloGateway({ supergraphSdl, buildService: ({ url }) => source(url, counts) });
  const { executor, schema } = await gateway.load();
  for (const [name, query] of Object.entries(QUERIES)) {
    counts[subgraphs[0].url] = 0;
    const document = parse(query);
    const { data, errors = [] } = await executor({
      document,
      operation: document.definitions[0],
      operationName: null,
      request: { query },
      queryHash: name,
      context: headers,
      schema,
      cache: new Map(),
      logger: console,
      metrics: {},
      overallCachePolicy: {},
    });
    const failures = errors.map(({ path, extensions }) => ({ path, code: extensions.code }));
    say({ composer, query: name, data, failures, asked: counts[subgraphs[0].url] });
  }
  await gateway.stop();
}

for (const [composer, compose] of Object.entries({ apollo: composeByApollo, theguild: composeByTheGuild })) {
  const { supergraphSdl, errors = [], hints = [] } = compose(subgraphs);
  const guarded = supergraphSdl && ruled(supergraphSdl);
  say({ composer, told: [...errors, ...hints].map(({ message }) => message), guarded });
  const unruled = { ...subgraphs[0], typeDefs: parse(args.unruled) }; // Apollo's gateway does not know the rules
  const composed = compose([unruled, subgraphs[1]]);
  say({ composer, told: [...(composed.errors ?? []), ...(composed.hints ?? [])].map(({ message }) => message) });
  if (composed.supergraphSdl) await ask(composer, composed.supergraphSdl);
}
server.close();
