// Queries that are asked again when that can help: after a service has come back, and after a new sign-in.
import { createContext, useCallback, useContext, useEffect, useRef } from 'react';
import { useQuery, type AnyVariables, type UseQueryArgs, type UseQueryState } from 'urql';

export const Refresh = createContext(0);

export function useFreshQuery<Data, Variables extends AnyVariables>(
  args: UseQueryArgs<Variables, Data>,
): [UseQueryState<Data, Variables>, () => void] {
  const [result, ask] = useQuery<Data, Variables>({ requestPolicy: 'cache-and-network', ...args });
  const again = useCallback(() => ask({ requestPolicy: 'network-only' }), [ask]);
  const refresh = useContext(Refresh);
  const seen = useRef(refresh);
  useEffect(() => {
    if (seen.current !== refresh) {
      seen.current = refresh;
      again();
    }
  }, [refresh, again]);
  return [result, again];
}
