import { Discard, Retry, Worker } from "pgsched";

const worker = new Worker({
  connection: process.env.PGSCHED_DSN,
  queues: ["mail"],
  concurrency: 20,
  handlers: {
    // What it returns is stored as the result. An error is a failed attempt, retried after the backoff of the task.
    email: async (payload, ctx) => {
      if (!payload.to.includes("@")) throw new Discard(`${payload.to} is no address`);
      ctx.log.info("email_sent", { attempt: ctx.attempt });
      return { sent: true };
    },
    // The signal is aborted at a cancel, at the timeout, when the lease is lost, and when the worker stops.
    fetch: async (payload, ctx) => {
      const answer = await fetch(payload.url, { signal: ctx.signal });
      if (answer.status === 429) throw new Retry(60, "too many requests");
      return { status: answer.status };
    },
  },
});
await worker.run(); // until SIGTERM
