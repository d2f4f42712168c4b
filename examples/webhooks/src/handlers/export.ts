import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context, Job } from "lessor";
import type { Export, Exported } from "../jobs.js";
import type { Orders } from "../orders.js";

const BATCH = 100;

/** Writes the orders that match as CSV. The result says where; a file is there whole or not at all. */
export function exportHandler(folder: string, orders: Orders) {
  return async ({ id, data }: Job<Export>, { signal, progress }: Context): Promise<Exported> => {
    const { minCents = 0 } = data;
    const wanted = orders.list().filter(({ cents }) => cents >= minCents);
    const lines = ["id,email,cents"];
    for (let done = 0; done < wanted.length; done += BATCH) {
      signal.throwIfAborted();
      const batch = wanted.slice(done, done + BATCH);
      lines.push(...batch.map((order) => `${order.id},${order.email},${order.cents}`));
      void progress({ done: done + batch.length, total: wanted.length });
    }
    const file = join(folder, `orders-${id}.csv`);
    await writeFile(`${file}.part`, `${lines.join("\r\n")}\r\n`);
    await rename(`${file}.part`, file);
    return { file, rows: wanted.length };
  };
}
