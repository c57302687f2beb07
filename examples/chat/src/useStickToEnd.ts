import { useLayoutEffect, useRef, type DependencyList, type RefObject } from 'react';

const NEAR_PX = 80;

/** Keeps a list scrolled to its end while it grows, unless the reader has scrolled away from there. */
export function useStickToEnd<Element extends HTMLElement>(growing: DependencyList): RefObject<Element | null> {
  const list = useRef<Element>(null);
  const height = useRef(0);
  useLayoutEffect(() => {
    const element = list.current;
    if (element === null) {
      return;
    }
    const wasAtEnd = height.current - element.scrollTop - element.clientHeight < NEAR_PX;
    if (wasAtEnd) {
      element.scrollTop = element.scrollHeight;
    }
    height.current = element.scrollHeight;
  }, growing);
  return list;
}
