import type { EventJson } from "../gen/lessor/v1/event_pb.js";
import type { JobState, Progress } from "../options.js";
import { dateOf, jobOf, progressOf, stateOf } from "./job.js";
import { secondsOf } from "./transport.js";

/** What happened, such as `JOB_SUCCEEDED`: see docs/protocol.md. */
export type EventType = Extract<EventJson["type"], string>;

/** Something that happened to a job or a queue. */
export interface JobEvent {
  /** The same in every delivery of the event. */
  readonly id: string;
  readonly type: EventType;
  readonly time: Date | undefined;
  readonly queue: string;
  /** Name of the job; empty for an event that is not about a job. */
  readonly job: string;
  readonly jobType: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly fromState: JobState | undefined;
  readonly toState: JobState | undefined;
  readonly attempt: number;
  readonly workerId: string;
  readonly progress: Progress | undefined;
  readonly failure: { code: string; message: string } | undefined;
  readonly result: unknown;
  readonly waitMs: number | undefined;
  readonly runMs: number | undefined;
  readonly reason: string;
  /** Who did it, where callers are asked who they are. */
  readonly actor: string;
}

export function eventOf(json: EventJson): JobEvent {
  const { failure, waitDuration, runDuration } = json;
  return {
    id: json.id ?? "",
    type: (json.type ?? "TYPE_UNSPECIFIED") as EventType,
    time: dateOf(json.time),
    queue: json.queue ?? "",
    job: json.job ?? "",
    jobType: json.jobType ?? "",
    labels: json.labels ?? {},
    fromState: stateOf(json.fromState),
    toState: stateOf(json.toState),
    attempt: json.attempt ?? 0,
    workerId: json.workerId ?? "",
    progress: progressOf(json.progress),
    failure: failure && { code: failure.code ?? "", message: failure.message ?? "" },
    result: jobOf({ result: json.result }).result,
    waitMs: waitDuration === undefined ? undefined : secondsOf(waitDuration) * 1000,
    runMs: runDuration === undefined ? undefined : secondsOf(runDuration) * 1000,
    reason: json.reason ?? "",
    actor: json.actor ?? "",
  };
}
