// The entry without a build: the browser loads the libraries from the CDN in the page's import map.
import 'graphiql/setup-workers/esm.sh';
import { start } from './app.js';

start();
