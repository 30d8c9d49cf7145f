// The steady handlers of app.py for the TypeScript worker. Those that write end their task in their own transaction.

import pg from "../../clients/typescript/node_modules/pg/lib/index.js";
import { Worker } from "../../clients/typescript/dist/index.js";

const { connection, transactions, ...options } = JSON.parse(process.argv[2]);
const STEADY_MILLISECONDS = 50;
const PLACES = 16;

const pool = new pg.Pool({ ...connection, max: transactions });
pool.on("error", () => undefined);
pool.on("connect", (client) => client.on("error", () => undefined));
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function steady(payload) {
  await sleep(STEADY_MILLISECONDS);
  return payload.number;
}

// Writes itself down and adds one to a row of the ledger, which other handlers want too.
async function entry(_payload, ctx) {
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query("begin");
    await client.query(
      "insert into public.effects select id, scheduled_for, fencing_token from pgsched.tasks where id = $1 and fencing_token = $2",
      [ctx.id, ctx.fencingToken],
    );
    await sleep(STEADY_MILLISECONDS / 5);
    await client.query("update public.ledger set total = total + 1 where place = $1", [Number(BigInt(ctx.id) % BigInt(PLACES))]);
    await ctx.finish(client);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => (broken = true));
    throw error;
  } finally {
    client.release(broken);
  }
}

const handlers = {
  steady,
  steady_plain: steady,
  brief: () => sleep(1),
  entry,
  entry_plain: entry,
  tick: () => sleep(1),
};
await new Worker({ connection, handlers, ...options }).run();
await pool.end();
process.exit(0);
