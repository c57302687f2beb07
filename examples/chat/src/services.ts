// The services that are down. Queried when an error names a service, then polled until all have recovered.
import { useCallback, useEffect, useRef, useState } from 'react';
import type { Client } from 'urql';
import { PlatformDocument, type ServiceName } from './gql/graphql';

const AGAIN_MS = 2000;
const listeners = new Set<() => void>();

/** An error occurred that a service may have caused. */
export function reportTrouble(): void {
  listeners.forEach((tell) => tell());
}

export interface Services {
  down: ServiceName[];
  gatewayDown: boolean;
  /** How many times all services have recovered. */
  recoveries: number;
}

export function useServices(client: Client): Services {
  const [services, setServices] = useState<Services>({ down: [], gatewayDown: false, recoveries: 0 });
  const asking = useRef(false);
  const look = useCallback(async () => {
    if (asking.current) {
      return;
    }
    asking.current = true;
    const { data } = await client.query(PlatformDocument, {}, { requestPolicy: 'network-only' }).toPromise();
    asking.current = false;
    const down = (data?.platform.services ?? []).filter((one) => one.status === 'DOWN').map((one) => one.service);
    setServices((before) => afterLook(before, down, data === undefined));
  }, [client]);

  useEffect(() => {
    const tell = () => void look();
    listeners.add(tell);
    tell();
    return () => {
      listeners.delete(tell);
    };
  }, [look]);

  const troubled = services.gatewayDown || services.down.length > 0;
  useEffect(() => {
    const timer = troubled ? setInterval(() => void look(), AGAIN_MS) : undefined;
    return () => clearInterval(timer);
  }, [troubled, look]);
  return services;
}

function afterLook(before: Services, down: ServiceName[], gatewayDown: boolean): Services {
  const troubled = gatewayDown || down.length > 0;
  const wasTroubled = before.gatewayDown || before.down.length > 0;
  const same = gatewayDown === before.gatewayDown && down.join() === before.down.join();
  if (same && troubled === wasTroubled) {
    return before;
  }
  return { down, gatewayDown, recoveries: before.recoveries + (wasTroubled && !troubled ? 1 : 0) };
}
