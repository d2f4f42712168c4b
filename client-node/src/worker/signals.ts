/**
 * Closes on signals. When nobody else listens to the signal, the process ends with it, as it would
 * have without us, but with code 0. Answers what undoes it.
 */
export function closeOn(
  signals: readonly NodeJS.Signals[],
  close: (force: boolean) => Promise<void>,
): () => void {
  let isTold = false;
  let isEnding = false;
  const remove = () => {
    if (isEnding) return;
    for (const signal of signals) process.off(signal, obey);
  };
  const obey = (signal: NodeJS.Signals) => {
    const isFirst = !isTold;
    isTold = true;
    // Until it is closed the signal stays ours: else the next one would kill the process.
    isEnding = true;
    void close(!isFirst).finally(() => {
      if (!isFirst) return;
      isEnding = false;
      remove();
      if (process.listenerCount(signal) === 0) process.exit(0);
    });
  };
  for (const signal of signals) process.on(signal, obey);
  return remove;
}
