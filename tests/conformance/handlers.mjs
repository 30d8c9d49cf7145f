// The handlers of handlers.py, run by the worker of clients/typescript. The argument is JSON: connection and options.

import pg from "../../clients/typescript/node_modules/pg/lib/index.js";
import { Discard, Finished, jsonLines, Retry, Snooze, Worker } from "../../clients/typescript/dist/index.js";

const { connection, ...options } = JSON.parse(process.argv[2]);
const pool = new pg.Pool({ ...connection, max: 20 });
pool.on("error", () => undefined);

// The connections of handlers are ended by tests, too.
async function query(text, values) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await pool.query(text, values);
    } catch (error) {
      if (tries === 5) throw error;
      await sleep(50);
    }
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function note(ctx, what) {
  return query("insert into effects (task_id, attempt, token, what) values ($1, $2, $3, $4)", [
    ctx.id,
    ctx.attempt,
    ctx.fencingToken,
    what,
  ]);
}

async function begun(ctx) {
  await note(ctx, "began");
  return (await query("select from effects where task_id = $1 and what = 'began'", [ctx.id])).rowCount;
}

const handlers = {
  async note(_payload, ctx) {
    await note(ctx, "ran");
    return { attempt: ctx.attempt };
  },
  async brief(payload) {
    await sleep(payload.seconds * 1000);
  },
  async hold(_payload, ctx) {
    await note(ctx, "began");
    while ((await query("select from gates where task_id = $1", [ctx.id])).rowCount === 0) {
      await sleep(20);
      if (ctx.signal.aborted) {
        await note(ctx, "stopped");
        throw ctx.signal.reason;
      }
    }
    await note(ctx, "ended");
    return ctx.attempt;
  },
  async overlong(payload, ctx) {
    await note(ctx, "began");
    await sleep(payload.seconds * 1000);
    await note(ctx, "ended");
  },
  async fail(_payload, ctx) {
    await note(ctx, "began");
    throw new Error("no luck");
  },
  async retry(payload, ctx) {
    if ((await begun(ctx)) === 1) throw new Retry(payload.after, "later");
    return "second";
  },
  async snooze(payload, ctx) {
    if ((await begun(ctx)) <= payload.times) throw new Snooze(0.05, "not yet");
    return ctx.attempt;
  },
  async discard(_payload, ctx) {
    await note(ctx, "began");
    throw new Discard("never");
  },
  async finish(_payload, ctx) {
    await note(ctx, "ran");
    throw new Finished("enough");
  },
  async echo(payload) {
    return payload;
  },
  async nul() {
    return "a\0b";
  },
  async crash(_payload, ctx) {
    await note(ctx, "began");
    process.kill(process.pid, "SIGKILL");
    await sleep(10_000);
  },
  async entry(_payload, ctx) {
    const client = await pool.connect();
    try {
      await client.query("begin");
      const values = [ctx.id, ctx.attempt, ctx.fencingToken];
      await client.query("insert into effects (task_id, attempt, token, what) values ($1, $2, $3, 'written')", values);
      if (ctx.attempt === 1) throw new Error("not this time");
      await ctx.finish(client, "kept");
      await client.query("commit");
    } catch (error) {
      await client.query("rollback");
      throw error;
    } finally {
      client.release();
    }
  },
  async progress(payload, ctx) {
    ctx.progress({ done: 7 });
    await handlers.hold(payload, ctx);
  },
};

await new Worker({ connection, handlers, log: jsonLines("debug"), ...options }).run();
await pool.end();
process.exit(0);
