/** A promise, and in `take` what settles it: an error rejects it. Nobody has to look at it. */
export function settled(take: (settle: (error?: Error) => void) => void): Promise<void> {
  const made = new Promise<void>((resolve, reject) => take((error) => (error ? reject(error) : resolve())));
  made.catch(() => {});
  return made;
}
