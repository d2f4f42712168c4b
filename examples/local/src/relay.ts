// A way to the broker that can fall silent.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export class Relay {
  #isSilent = false;
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: ReturnType<typeof createServer>,
    target: URL,
  ) {
    server.on("connection", (near) => {
      const far = connect(Number(target.port), target.hostname);
      for (const [from, to] of [[near, far] as const, [far, near] as const]) {
        this.#sockets.add(from);
        from.on("data", (bytes) => this.#isSilent || to.write(bytes));
        from.on("error", () => {});
        from.on("close", () => to.destroy());
      }
    });
  }

  static async to(address: string): Promise<Relay> {
    const relay = new Relay(createServer(), new URL(address));
    relay.server.listen(0, "127.0.0.1");
    await once(relay.server, "listening");
    return relay;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** From now on nothing passes, and nobody is told. */
  silence(): void {
    this.#isSilent = true;
  }

  stop(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
