/** Entry of the workflow bundle. The default export answers for every workflow type. */
import { interpret } from './interpret.js';

export { interpret };
export default interpret;
