import { UnrecoverableError } from "lessor";
import { isTable } from "../database.js";
import { BaseHandler, type Step } from "./base.js";

export interface DataExport {
  table: string;
}

/** Writes a table as CSV. The result is where it is, not what it says. */
export class DataExportHandler extends BaseHandler<DataExport, { exportId: string; rows: number }> {
  protected async work({ table }: DataExport, { sql }: Step) {
    if (!isTable(table)) throw new UnrecoverableError(`there is no table ${table}`);
    const { fields, rows } = await sql.query({
      text: `select * from ${table} order by 1`,
      rowMode: "array",
    });
    const lines = [fields.map(({ name }) => name), ...rows].map((cells: unknown[]) =>
      cells.map(cellOf).join(","),
    );
    const made = await sql.query("insert into exports (name, csv) values ($1, $2) returning id", [
      table,
      `${lines.join("\r\n")}\r\n`,
    ]);
    return { exportId: made.rows[0].id as string, rows: rows.length };
  }
}

function cellOf(value: unknown): string {
  const text = value instanceof Date ? value.toISOString() : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
