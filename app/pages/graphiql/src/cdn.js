// The entry where nothing was built: the browser takes the libraries from the CDN that the page's import map names.
import 'graphiql/setup-workers/esm.sh';
import { start } from './app.js';

start();
