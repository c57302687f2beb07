// The entry that Vite builds: workers, styles and libraries become files of this server's own.
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './style.css';
import { start } from './app.js';

start();
