/** A worker for pgsched: `new Worker({connection, handlers}).run()`. */

export type { Context, Handler } from "./context.js";
export { Aborted, type AbortCause, Discard, Finished, Refused, Retry, Snooze, Unavailable } from "./errors.js";
export { jsonLines, type Fields, type Level, Logger, type LogSink } from "./log.js";
export type { Details, Payload } from "./protocol.js";
export { type Queryable, schedule, type ScheduleOptions } from "./schedule.js";
export type { ConnectionOptions } from "./session.js";
export { VERSION, Worker, type WorkerOptions } from "./worker.js";
