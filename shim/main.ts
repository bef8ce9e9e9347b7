/** The shim's entry: everything else is in `commands/serve.ts`. */
import { serve } from './commands/serve.ts';

await serve();
