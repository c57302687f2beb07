import { useCallback, useEffect, useReducer, useRef } from 'react';
import { useClient } from 'urql';
import { streamsInto } from './cache';
import type { Problem } from './errors';
import { follow } from './follow';
import { CancelRunDocument } from './gql/graphql';
import { reduce, type Start, type Turn } from './turn';

export interface TurnControls {
  turn: Turn | null;
  /** Follows a stream, unless it is followed already. */
  begin: (start: Start) => void;
  stop: () => void;
  drop: () => void;
}

/** The conversation's turn in progress, if any. */
export function useTurn(conversationId: string, onGone: (problem: Problem) => void): TurnControls {
  const client = useClient();
  const [turn, tell] = useReducer(reduce, null);
  const followed = useRef(new Set<string>());
  const leave = useRef<(() => void) | null>(null);
  const gone = useRef(onGone);
  gone.current = onGone;

  const begin = useCallback(
    (start: Start) => {
      if (followed.current.has(start.streamId)) {
        return;
      }
      followed.current.add(start.streamId);
      streamsInto(start.streamId, conversationId);
      leave.current?.();
      tell({ type: 'began', start });
      leave.current = follow(client, start.streamId, start.after ?? null, {
        onEvent: (event) => tell({ type: 'heard', event }),
        onLost: () => tell({ type: 'connection', connected: false }),
        onGone: (problem) => {
          if (problem.code === 'UNAUTHENTICATED') {
            followed.current.delete(start.streamId); // after the next sign-in it can be followed again
          }
          tell({ type: 'dropped' });
          gone.current(problem);
        },
      });
    },
    [client, conversationId],
  );

  useEffect(() => {
    const seen = followed.current;
    return () => {
      leave.current?.();
      seen.clear();
    };
  }, []);

  const runId = turn?.runId ?? null;
  const stop = useCallback(() => {
    if (runId !== null) {
      tell({ type: 'stopping', stopping: true });
      void client
        .mutation(CancelRunDocument, { input: { runId } })
        .toPromise()
        .then(({ error }) => error && tell({ type: 'stopping', stopping: false }));
    }
  }, [client, runId]);
  const drop = useCallback(() => tell({ type: 'dropped' }), []);
  return { turn, begin, stop, drop };
}
