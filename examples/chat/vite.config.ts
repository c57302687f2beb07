import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const gateway = 'http://127.0.0.1:8000';

export default defineConfig({
  base: '/demo/',
  plugins: [react()],
  // The gateway's policy lets the page load nothing but its own files, so nothing is inlined as a data: URL.
  build: { target: 'es2023', assetsInlineLimit: 0 },
  server: {
    proxy: {
      '/graphql': { target: gateway, changeOrigin: true },
      '/demo/token': { target: gateway, changeOrigin: true },
    },
  },
});
