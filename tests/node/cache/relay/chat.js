// Compiled by relay-compiler into __generated__; never run as it stands.
import { graphql } from 'relay-runtime';

graphql`
  fragment documents_message on Message {
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
`;

graphql`
  query documentsAgentQuery($id: ID!, $last: Int!, $before: String) {
    agent(id: $id) {
      id
      messages(last: $last, before: $before) @connection(key: "Agent_messages") {
        edges { cursor node { ...documents_message @relay(mask: false) } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  query documentsConversationQuery($id: ID!, $last: Int!, $before: String) {
    conversation(id: $id) {
      id
      messages(last: $last, before: $before) @connection(key: "Conversation_messages") {
        edges { cursor node { ...documents_message @relay(mask: false) } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  query documentsConversationsQuery($id: ID!) {
    agent(id: $id) {
      id
      conversations(first: 20) @connection(key: "Agent_conversations") {
        edges { cursor node { id summary createdAt lastMessageAt } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  mutation documentsSendMutation($input: SendMessageInput!, $lists: [ID!]!) {
    sendMessage(input: $input) {
      userMessageEdge @appendEdge(connections: $lists) { cursor node { ...documents_message } }
      stream { id }
      errors { message }
    }
  }
`;

graphql`
  mutation documentsRespondMutation($input: RespondToApprovalInput!) {
    respondToApproval(input: $input) { stream { id } errors { message } }
  }
`;

graphql`
  mutation documentsStartMutation($input: CreateConversationInput!, $lists: [ID!]!) {
    createConversation(input: $input) {
      conversationEdge @prependEdge(connections: $lists) { cursor node { id summary createdAt lastMessageAt } }
    }
  }
`;

graphql`
  fragment documents_event on StreamEvent {
    __typename
    cursor
    ... on StreamStarted {
      userMessageEdge @appendEdge(connections: $lists) { cursor node { ...documents_message } }
    }
    ... on MessageAdded { edge @appendEdge(connections: $lists) { cursor node { ...documents_message } } }
    ... on ApprovalRequested { edge @appendEdge(connections: $lists) { cursor node { ...documents_message } } }
    ... on StreamEnded {
      outcome
      finishReason
      run { id status stopReason completedAt }
      conversation { id lastMessageAt }
    }
  }
`;

graphql`
  subscription documentsFollowSubscription($id: ID!, $lists: [ID!]!) {
    stream(id: $id) { ...documents_event @relay(mask: false) }
  }
`;

graphql`
  subscription documentsSaySubscription($input: SendMessageInput!, $streamKey: ID!, $lists: [ID!]!) {
    message(input: $input, streamKey: $streamKey) { ...documents_event @relay(mask: false) }
  }
`;
