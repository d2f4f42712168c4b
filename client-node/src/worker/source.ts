// Where a worker's jobs come from and go to: a stream, or calls where the broker has none.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LessorError } from "../errors.js";
import type {
  AckRequestSchema,
  ExtendLeaseRequestSchema,
  LeasedJob,
  NackRequestSchema,
} from "../gen/lessor/v1/lease_pb.js";

export type Ack = MessageInitShape<typeof AckRequestSchema>;
export type Nack = MessageInitShape<typeof NackRequestSchema>;
/** What a handler reports. */
export type Report = Pick<
  MessageInitShape<typeof ExtendLeaseRequestSchema>,
  "progress" | "checkpoint"
>;

/** How a job is settled. */
export type Settlement = { verb: "ack"; request: Ack } | { verb: "nack"; request: Nack };

/** A job that this worker has the lease of. */
export interface Lease {
  readonly leased: LeasedJob;
  readonly token: string;
  /** It is not ours any more. */
  isLost: boolean;
  /** What becomes of it is said, if not answered. */
  isSettled: boolean;
}

/** What a source tells its worker. */
export interface Listener {
  /** Jobs that the worker has room for. */
  room(): number;
  job(lease: Lease): void;
  cancel(lease: Lease, reason: string, withinMs: number | undefined): void;
  lost(lease: Lease, reason: string): void;
  /** An operator drains the worker. */
  drain(reason: string): void;
  connected(): void;
  disconnected(fault: LessorError | undefined): void;
}

export interface Source {
  readonly isConnected: boolean;
  /** The leases that are held or whose settle is not answered. */
  held(): Iterable<Lease>;
  /** Works until the source is closed. Throws when the broker refuses the worker for good. */
  run(): Promise<void>;
  /** There may be more room than before. */
  wake(): void;
  /** Settles a lease, however long the broker is away. */
  settle(lease: Lease, settlement: Settlement): Promise<void>;
  /** Reports progress or a checkpoint. */
  extend(lease: Lease, report: Report): Promise<void>;
  /** Ends in good order; what is held goes back. */
  close(): Promise<void>;
}
