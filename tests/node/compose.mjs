// Composes a subgraph of a page's with the graph's own, by each of two composers; says what they do not like.
import { readFileSync } from 'node:fs';
import { composeServices as composeByApollo } from '@apollo/composition';
import { composeServices as composeByTheGuild } from '@theguild/federation-composition';
import { parse } from 'graphql';
import { args, say } from './lib.mjs';

const subgraphs = [
  { name: 'agentgraph', typeDefs: parse(readFileSync(args.subgraph, 'utf8')), url: 'http://agentgraph/graphql' },
  { name: 'crm', typeDefs: parse(args.crm), url: 'http://crm/graphql' },
];
for (const compose of [composeByApollo, composeByTheGuild]) {
  say({ errors: (compose(subgraphs).errors ?? []).map((error) => error.message) });
}
