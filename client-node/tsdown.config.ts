import { defineConfig } from "tsdown";

export default defineConfig({
  entry: ["src/index.ts", "src/fetch.ts", "src/proto.ts", "src/guard.ts"],
  format: ["esm", "cjs"],
  target: "node20",
  dts: true,
  shims: true,
  sourcemap: false,
});
