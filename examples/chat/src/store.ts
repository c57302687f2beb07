// What has to outlive a reload, kept for this tab. A browser may forbid it; then a reload forgets.

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
