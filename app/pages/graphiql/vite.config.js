import { defineConfig } from 'vite';

// The language service requires non-null input fields that have a default, so the variables editor reports valid
// variables. Such a field can be omitted (GraphQL, 3.10).
const REQUIRED = 'const required = isNonNullType(type);';
const defaultsAreOptional = () => ({
  name: 'defaults-are-optional',
  transform(code, id) {
    if (!id.includes('graphql-language-service/esm/utils/getVariablesJSONSchema.js')) return null;
    if (!code.includes(REQUIRED)) this.error('The language service has changed: is this still needed?');
    const mended = 'const required = isNonNullType(type) && !(isField && fieldOrType.defaultValue !== undefined);';
    return { code: code.replace(REQUIRED, mended), map: null };
  },
});

export default defineConfig({
  base: '/pages/',
  plugins: [defaultsAreOptional()],
  worker: { format: 'es', plugins: () => [defaultsAreOptional()] },
  build: {
    chunkSizeWarningLimit: 10000, // Monaco is large, and this server serves it
    modulePreload: { polyfill: false },
    rollupOptions: { input: ['index.html', 'docs.html'] },
  },
});
