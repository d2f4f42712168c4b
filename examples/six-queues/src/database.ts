import { readFile } from "node:fs/promises";
import pg from "pg";

/** The tables that exports and backups may read: names never come from a payload into SQL. */
export const TABLES = ["prices", "price_changes", "emails", "reports"] as const;
export type Table = (typeof TABLES)[number];

export function isTable(name: string): name is Table {
  return TABLES.some((table) => table === name);
}

/** Connects to `DATABASE_URL`, and makes the tables that are missing. */
export async function openDatabase(): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
  // A connection that breaks while nobody uses it is replaced.
  pool.on("error", (error) => pool.ending || console.error(`database: ${error.message}`));
  await pool.query(await readFile(new URL("./schema.sql", import.meta.url), "utf8"));
  return pool;
}
