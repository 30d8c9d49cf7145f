// Inserts one task whose payload says "Node", as any program with the driver `pg` would; prints its id.
// The database is named by PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
const { Client } = require("pg");

async function main() {
  const client = new Client();
  await client.connect();
  const inserted = await client.query(
    "insert into pgsched.tasks (task_type, payload) values ($1, $2) returning id",
    ["greet", { name: "Node" }],
  );
  console.log(inserted.rows[0].id);
  await client.end();
}

main();
