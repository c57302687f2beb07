// State of this tab that survives a reload. If the browser forbids storage, it is lost.

export function recall(key: string): string {
  try {
    return sessionStorage.getItem(`chat:${key}`) ?? '';
  } catch {
    return '';
  }
}

export function remember(key: string, value: string): void {
  try {
    if (value === '') {
      sessionStorage.removeItem(`chat:${key}`);
    } else {
      sessionStorage.setItem(`chat:${key}`, value);
    }
  } catch {
    // forgotten at the next reload
  }
}
