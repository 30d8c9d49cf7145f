/** Waiting for a time, or until somebody wakes the waiter. */

import { Unavailable } from "./errors.js";

/** Wakes one waiter; a wake that nobody waits for is kept for the next one. */
export class Wakeup {
  private woken = false;
  private resolve: (() => void) | undefined;

  wake(): void {
    this.woken = true;
    this.resolve?.();
  }

  /** Wait until woken, `milliseconds` at most. Resolves to whether it was woken. */
  async wait(milliseconds: number): Promise<boolean> {
    if (!this.woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(milliseconds, 0));
        this.resolve = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.resolve = undefined;
    }
    const woken = this.woken;
    this.woken = false;
    return woken;
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Wait for a promise, but no longer; resolves to whether it has settled. */
export async function settled(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const done = promise.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([done, late]);
  clearTimeout(timer);
  return result;
}

/** Reject when a promise takes longer. */
export async function within<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  if (!(await settled(promise, milliseconds))) {
    throw new Unavailable(`no answer within ${milliseconds / 1000} s`);
  }
  return promise;
}

/** Pauses between tries that fail: they double from 0.1 s to `longest`, with a jitter of 20 %. */
export class Backoff {
  private tries = 0;

  constructor(private readonly longest = 10_000) {}

  next(): number {
    const plain = Math.min(100 * 2 ** this.tries, this.longest);
    this.tries = Math.min(this.tries + 1, 20);
    return plain * (0.8 + 0.4 * Math.random());
  }

  reset(): void {
    this.tries = 0;
  }
}
