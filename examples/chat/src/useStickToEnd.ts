import { useEffect, useLayoutEffect, useRef, type DependencyList, type RefObject } from 'react';

const NEAR_PX = 80;

/** Keeps a growing list scrolled to its end, unless the user has scrolled away. */
export function useStickToEnd<Element extends HTMLElement>(growing: DependencyList): RefObject<Element | null> {
  const list = useRef<Element>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const element = list.current;
    function onScroll() {
      if (element !== null) {
        atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
      }
    }
    element?.addEventListener('scroll', onScroll, { passive: true });
    return () => element?.removeEventListener('scroll', onScroll);
  }, []);
  useLayoutEffect(() => {
    if (list.current !== null && atEnd.current) {
      list.current.scrollTop = list.current.scrollHeight;
    }
  }, growing);
  return list;
}
