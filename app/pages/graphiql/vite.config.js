import { defineConfig } from 'vite';

export default defineConfig({
  base: '/pages/',
  worker: { format: 'es' },
  build: {
    chunkSizeWarningLimit: 10000, // Monaco is what it is; it comes from this machine
    modulePreload: { polyfill: false },
    rollupOptions: { input: ['index.html', 'docs.html'] },
  },
});
