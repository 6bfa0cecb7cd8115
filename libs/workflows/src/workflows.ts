/** Entry of the workflow bundle. The default export answers for every workflow type. */
import { interpret } from './interpret.js';

export { tryActivity } from './try-activity.js';
export { interpret };
export default interpret;
