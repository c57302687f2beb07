// Reads a stream to its end. After a connection loss it resumes after the last event's cursor.
import type { Client } from 'urql';
import { problemOf, type Problem } from './errors';
import { FollowStreamDocument } from './gql/graphql';
import type { StreamEvent } from './turn';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

export interface Reader {
  onEvent: (event: StreamEvent) => void;
  /** The connection was lost; a retry follows. */
  onLost: () => void;
  /** The stream cannot be read any more: it or the token has expired. */
  onGone: (problem: Problem) => void;
}

/** Reads a stream after a cursor, or from its start. Returns a function that stops reading. */
export function follow(client: Client, id: string, after: string | null, reader: Reader): () => void {
  let cursor = after;
  let waitMs = FIRST_WAIT_MS;
  let over = false;
  let leave: () => void = () => undefined;

  function read() {
    let detached = false;
    const request = client.subscription(FollowStreamDocument, { id, after: cursor });
    const { unsubscribe } = request.subscribe(({ data, error, hasNext }) => {
      if (over || detached) {
        return;
      }
      const problem = error ? problemOf(error) : null;
      if (problem !== null && !problem.retryable) {
        over = true;
        reader.onGone(problem);
      } else if (problem !== null || (!hasNext && data?.stream.cursor === cursor)) {
        detached = true;
        lost(); // an event stream that stops without a `StreamEnded` was cut
      } else if (data && data.stream.cursor !== cursor) {
        waitMs = FIRST_WAIT_MS;
        detached = heard(data.stream);
      }
    });
    leave = unsubscribe;
  }

  /** Whether the gateway detaches this reader. */
  function heard(event: StreamEvent): boolean {
    if (event.__typename === 'ReaderDetached') {
      lost();
      return true;
    }
    cursor = event.cursor;
    over = event.__typename === 'StreamEnded'; // the gateway closes the connection by itself
    reader.onEvent(event);
    return false;
  }

  function lost() {
    reader.onLost();
    const timer = setTimeout(again, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    addEventListener('online', again);
    leave = forget;

    function forget() {
      clearTimeout(timer);
      removeEventListener('online', again);
    }

    function again() {
      forget();
      read();
    }
  }

  function end() {
    over = true;
    leave();
  }

  read();
  return end;
}
