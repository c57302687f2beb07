// Queries that are repeated after a service has recovered and after a new sign-in.
import { createContext, useCallback, useContext, useEffect, useRef } from 'react';
import { useQuery, type AnyVariables, type UseQueryArgs, type UseQueryState } from 'urql';
import { problemOf } from './errors';

const TRIES = 5;

export const Refresh = createContext(0);

export function useFreshQuery<Data, Variables extends AnyVariables>(
  args: UseQueryArgs<Variables, Data>,
): [UseQueryState<Data, Variables>, () => void] {
  const [result, ask] = useQuery<Data, Variables>({ requestPolicy: 'cache-and-network', ...args });
  const again = useCallback(() => ask({ requestPolicy: 'network-only' }), [ask]);
  const refresh = useContext(Refresh);
  const seen = useRef(refresh);
  const left = useRef(0);
  useEffect(() => {
    if (seen.current !== refresh) {
      seen.current = refresh;
      left.current = TRIES;
      again();
    }
  }, [refresh, again]);

  // a service that is back may be left alone by the gateway for a moment more
  const problem = result.error && !result.fetching ? problemOf(result.error) : undefined;
  const wait = problem?.retryable ? Math.max(1, problem.retryAfterSeconds ?? 0) * 1000 : undefined;
  useEffect(() => {
    if (wait === undefined || left.current === 0) {
      return undefined;
    }
    left.current -= 1;
    const timer = setTimeout(again, wait);
    return () => clearTimeout(timer);
  }, [wait, result.error, again]);
  return [result, again];
}
