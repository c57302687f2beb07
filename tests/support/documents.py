"""GraphQL documents that several test modules send."""

from __future__ import annotations

STREAM_FIELDS = """ __typename cursor
  ... on StreamStarted { stream { id } replayed resumable userMessageEdge { node { id text } } }
  ... on TextDelta { messageId text }
  ... on MessageAdded { edge { cursor node { __typename id text } } }
  ... on StreamEnded { outcome finishReason usage { completionTokens } error { code reason } } """
MESSAGE = f"subscription($i: SendMessageInput!, $k: ID!) {{ message(input: $i, streamKey: $k) {{ {STREAM_FIELDS} }} }}"
COMPLETION = (
    f"subscription($i: CompletionInput!, $k: ID!) {{ completion(input: $i, streamKey: $k) {{ {STREAM_FIELDS} }} }}"
)
STREAM = f"subscription($id: ID!, $after: String) {{ stream(id: $id, after: $after) {{ {STREAM_FIELDS} }} }}"
RESPOND = """mutation($i: RespondToApprovalInput!) { respondToApproval(input: $i) {
  run { id } stream { id } errors { message } } }"""
DASHBOARD = """{ viewer { email agents(first: 10) { nodes { name template { name } modelName model { name }
  memoryBlocks { label value } conversations(first: 3) { nodes { summary
  messages(last: 5) { nodes { __typename createdAt } } } } } } } }"""
CREATE_CONVERSATION = """mutation($a: ID!, $s: String, $k: String) {
  createConversation(input: {agentId: $a, summary: $s, idempotencyKey: $k}) {
    conversationEdge { cursor node { id } } conversation { id summary } errors { message } } }"""
INSERT_PASSAGE = """mutation($a: ID!, $t: String!, $g: [String!], $k: String) {
  insertPassage(input: {agentId: $a, text: $t, tags: $g, idempotencyKey: $k}) { errors { message }
    passageEdges { cursor node { id text tags createdAt } } } }"""
PASSAGES = """query($a: ID!, $n: Int, $c: String) { agent(id: $a) { passages(first: $n, after: $c) {
  edges { cursor node { id text } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""
SEARCH_MEMORY = """query($a: ID!, $q: String!, $n: Int) { agent(id: $a) { searchMemory(query: $q, limit: $n) {
  score passage { id text tags createdAt } } } }"""
UPDATE_MEMORY_BLOCK = """mutation($b: ID!, $v: String!) { updateMemoryBlock(input: {blockId: $b, value: $v}) {
  memoryBlock { id value } errors { message } } }"""
AGENT_MEMORY = """query($a: ID!) { agent(id: $a) { memoryBlocks { id value } tools { id name } } }"""
AGENTS = """query($first: Int, $after: String, $last: Int, $before: String, $filter: AgentFilter) { viewer {
  agents(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    totalCount edges { cursor node { id } } nodes { id name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
UPDATE_AGENT = """mutation($i: UpdateAgentInput!) { updateAgent(input: $i) {
  agent { name description tags model { name } } errors { message } } }"""
UPGRADE_AGENT = """mutation($i: UpgradeAgentInput!) { upgradeAgent(input: $i) {
  outcome agent { id version } errors { __typename message } } }"""
DELETE_AGENT = "mutation($i: DeleteAgentInput!) { deleteAgent(input: $i) { deletedAgentId errors { message } } }"
FOLLOW_FIELDS = """ __typename cursor
  ... on StreamStarted { stream { id } run { id } replayed resumable userMessageEdge { node { id text } } }
  ... on TextDelta { messageId text }
  ... on MessageAdded { edge { node { __typename id text } } }
  ... on StreamEnded { outcome finishReason run { status } } """
FOLLOW = f"subscription($id: ID!, $after: String) {{ conversation(id: $id, after: $after) {{ {FOLLOW_FIELDS} }} }}"
SEND_MESSAGE = """mutation($i: SendMessageInput!) { sendMessage(input: $i) {
  run { id status } stream { id text } userMessageEdge { node { id text } } errors { __typename message } } }"""
COMPLETION_TEXT = """subscription($i: CompletionInput!, $k: ID!) {
  completion(input: $i, streamKey: $k) { __typename cursor ... on TextDelta { text } } }"""
