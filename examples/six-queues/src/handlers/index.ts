import type { Pool } from "pg";
import { BackupHandler } from "./backup.js";
import { CleanupHandler } from "./cleanup.js";
import { DataExportHandler } from "./data-export.js";
import { EmailSendHandler } from "./email-send.js";
import { PriceSyncHandler } from "./price-sync.js";
import { ReportGenerationHandler } from "./report-generation.js";

/** Each queue has jobs of one type, which has its name. */
export function handlersOn(database: Pool) {
  return {
    "price-sync": new PriceSyncHandler(database).run,
    backup: new BackupHandler(database).run,
    "email-send": new EmailSendHandler(database).run,
    "data-export": new DataExportHandler(database).run,
    cleanup: new CleanupHandler(database).run,
    "report-generation": new ReportGenerationHandler(database).run,
  };
}

export type QueueHandlers = ReturnType<typeof handlersOn>;
export type QueueName = keyof QueueHandlers;
