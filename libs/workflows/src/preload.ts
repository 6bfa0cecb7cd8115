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
