// The entry that Vite builds: this server serves the workers, styles and libraries.
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './style.css';
import { start } from './app.js';

start();
