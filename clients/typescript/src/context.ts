/** What a handler is given beside the payload. */

import type { Logger } from "./log.js";
import type { Claimed, Details } from "./protocol.js";
import type { Queryable } from "./schedule.js";

export interface Context {
  /** The id of the task: a bigint, as text. */
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  /** From 1. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** The nominal time of this run. */
  readonly scheduledFor: Date | null;
  /** Grows with every claim of the task: pass it to systems that can refuse an older one. A bigint, as text. */
  readonly fencingToken: string;
  /** Name, tags, metadata, tenant and so on; what a task does not say is left out. */
  readonly details: Details;
  /** Aborted with `Aborted` as its reason when the task is cancelled, times out, is lost, or the worker stops. */
  readonly signal: AbortSignal;
  /** Logs with the id, the type and the attempt. */
  readonly log: Logger;
  /** Show people how far the task is: any JSON value. Written at most twice a second. */
  progress(value: unknown): void;
  /**
   * Write the outcome in a transaction of the handler's own, with what it writes there: both are committed, or neither.
   * Call it last, then commit and return. Rejects with `Aborted` when the task is no longer this worker's: roll back.
   */
  finish(transaction: Queryable, result?: unknown): Promise<void>;
}

/** Runs tasks of one type. What it returns is stored as JSON. */
export type Handler<P> = (payload: P, context: Context) => unknown;

export function contextOf(
  task: Claimed,
  signal: AbortSignal,
  log: Logger,
  progress: (value: unknown) => void,
  finish: (transaction: Queryable, result?: unknown) => Promise<void>,
): Context {
  return {
    id: task.id,
    type: task.task_type,
    queue: task.queue,
    attempt: task.attempt,
    maxAttempts: task.max_attempts,
    scheduledFor: task.scheduled_for === null ? null : new Date(task.scheduled_for),
    fencingToken: task.fencing_token,
    details: task.details ?? {},
    signal,
    log,
    progress,
    finish,
  };
}
