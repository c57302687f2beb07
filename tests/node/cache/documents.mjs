// What a chat page asks, for the clients that take documents as they are. A message is asked for in the same words
// wherever it comes from: what a stream brings is then all that a query would have brought.
export const MESSAGE = `
  fragment InPlace on MessageEdge {
    cursor
    node {
      __typename
      id
      role
      text
      createdAt
      run { id status stopReason completedAt }
      ... on ToolCallMessage { toolCalls { toolCallId name arguments } }
      ... on ToolReturnMessage { name toolCallId status }
      ... on ApprovalRequestMessage { toolCalls { toolCallId name arguments } }
      ... on ApprovalResponseMessage { approve reason }
    }
  }
`;
const LIST = `messages(last: $last, before: $before) {
  edges { ...InPlace }
  pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
}`;
const EVENT = `
  __typename
  cursor
  ... on StreamStarted { userMessageEdge { ...InPlace } }
  ... on MessageAdded { edge { ...InPlace } }
  ... on ApprovalRequested { edge { ...InPlace } }
  ... on StreamEnded {
    outcome
    finishReason
    run { id status stopReason completedAt }
    conversation { id lastMessageAt }
  }
`;
const ENDS = 'stream { id } errors { message }';

export const MESSAGES = {
  Agent: `query Messages($id: ID!, $last: Int!, $before: String) { agent(id: $id) { id ${LIST} } } ${MESSAGE}`,
  Conversation: `query Messages($id: ID!, $last: Int!, $before: String) { conversation(id: $id) { id ${LIST} } } ${MESSAGE}`,
};
export const CONVERSATIONS = `query Conversations($id: ID!) {
  agent(id: $id) {
    id
    conversations(first: 20) {
      edges { cursor node { id summary createdAt lastMessageAt } }
      pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
    }
  }
}`;
export const SEND = `mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) { userMessageEdge { ...InPlace } ${ENDS} }
} ${MESSAGE}`;
export const RESPOND = `mutation Respond($input: RespondToApprovalInput!) { respondToApproval(input: $input) { ${ENDS} } }`;
export const START = `mutation Start($input: CreateConversationInput!) {
  createConversation(input: $input) { conversationEdge { cursor node { id summary createdAt lastMessageAt } } }
}`;
export const FOLLOW = `subscription Follow($id: ID!) { stream(id: $id) { ${EVENT} } } ${MESSAGE}`;
export const SAY = `subscription Say($input: SendMessageInput!, $streamKey: ID!) {
  message(input: $input, streamKey: $streamKey) { ${EVENT} }
} ${MESSAGE}`;
