/**
 * Loaded once per worker thread, before the first run, and shared by all runs of it. The modules keep no state of a
 * run, so that sharing them saves each run about 5 ms of CPU and the memory of its own copy.
 */
import './workflows.js';

/**
 * The SDK takes a source-mapped stack trace for every promise of a workflow, for a query of its own that names where a
 * run waits; the steps query says that better. The trace of 10 frames cost a quarter of the worker thread's time.
 * Errors keep their two innermost frames, which name the place of a bug in the interpreter.
 */
Error.stackTraceLimit = 2;

/**
 * That trace is still half of the worker thread's time: 100 calls at once cost it 3 ms each, of which 1.6 were traces.
 * The SDK takes it from an error that it makes without a message, as nobody else does. Such an error now comes without
 * a trace, and the SDK then notes nothing. Whatever is made with a message, and every kind of its own, is as before.
 */
const PlainError = Error;
const UNTRACED = Object.freeze(Object.create(PlainError.prototype, { stack: { value: undefined } }) as object);
function UntracedError(...args: [message?: string, options?: ErrorOptions]): object {
  if (args.length === 0 && new.target === UntracedError) return UNTRACED;
  return Reflect.construct(PlainError, args, new.target ?? PlainError) as object;
}
Object.setPrototypeOf(UntracedError, PlainError);
UntracedError.prototype = PlainError.prototype;
globalThis.Error = UntracedError as unknown as ErrorConstructor;

/**
 * For each promise the SDK also compiles three little functions, twice `return globalThis.__TEMPORAL_ACTIVATOR__` and
 * once `return globalThis.Error`, with what it takes for the sandbox's `Function`: the constructor of the promise's
 * constructor. They took more of the worker thread's time than the interpreter; here they are made once.
 */
const MADE: ReadonlyMap<string, () => unknown> = new Map([
  ['return globalThis.__TEMPORAL_ACTIVATOR__', () => (globalThis as Record<string, unknown>)['__TEMPORAL_ACTIVATOR__']],
  ['return globalThis.Error', () => globalThis.Error],
]);
const PlainFunction = Function;
function MadeFunction(code: string, ...more: string[]): unknown {
  return (more.length === 0 ? MADE.get(code) : undefined) ?? Reflect.construct(PlainFunction, [code, ...more]);
}
MadeFunction.prototype = PlainFunction.prototype;
Object.defineProperty(Promise, 'constructor', { value: MadeFunction, configurable: true });

/**
 * With nothing left to note, the hook itself is what is left: V8 calls it when a promise is made, resolved and awaited,
 * and leaves its own short way for `await` as long as there is one. The SDK installs it for the thread before this is
 * loaded and does without where a runtime has none, so it is taken away as the SDK would take it away itself. The
 * sandbox shares the function `assert` with the thread, and through it the thread's modules.
 */
interface SdkHandlers {
  globalHandlers?: { stopPromiseHook?: () => void };
}
type Thread = { assert?: { constructor: FunctionConstructor } };
const SDK_HANDLERS = /@temporalio[\\/]worker[\\/]lib[\\/]workflow[\\/]vm-shared\.js$/;
const ofThread = (globalThis as Thread).assert?.constructor;
const modules = ofThread?.(`return process.getBuiltinModule?.('node:module')?._cache`)() as
  Record<string, { exports: SdkHandlers } | undefined> | undefined;
for (const file of Object.keys(modules ?? {}))
  if (SDK_HANDLERS.test(file)) modules?.[file]?.exports.globalHandlers?.stopPromiseHook?.();
