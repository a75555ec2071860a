/** Told of an error that no caller can be told. */
export type OnBackgroundError = (error: Error) => void;

/** `hook`, whose own failure ends nothing: it becomes a warning of the process. */
export function guarded(hook: OnBackgroundError): OnBackgroundError {
  return (error) => {
    try {
      // An `async` one is a function of this type, too.
      const told: unknown = hook(error);
      if (told instanceof Promise) told.catch(warn);
    } catch (failure) {
      warn(failure);
    }
  };
}

function warn(failure: unknown): void {
  process.emitWarning(failure instanceof Error ? failure : String(failure));
}
