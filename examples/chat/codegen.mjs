// Generates src/gql/ from the schema and the operations in src/graphql/. It calls the client preset directly, without
// the graphql-codegen command and the 250 packages that the command needs.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { preset } from '@graphql-codegen/client-preset';
import { codegen } from '@graphql-codegen/core';
import { buildSchema, parse } from 'graphql';

const here = new URL('./', import.meta.url);
const sdl = await readFile(new URL('../../schema/schema.graphql', here), 'utf8');
const folder = new URL('src/graphql/', here);
const names = (await readdir(folder)).filter((name) => name.endsWith('.graphql')).sort();
const documents = await Promise.all(
  names.map(async (name) => {
    const rawSDL = await readFile(new URL(name, folder), 'utf8');
    return { location: name, rawSDL, document: parse(rawSDL) };
  }),
);
const files = await preset.buildGeneratesSection({
  baseOutputDir: 'src/gql/',
  schema: parse(sdl),
  schemaAst: buildSchema(sdl),
  documents,
  config: {
    scalars: { ID: 'string', Date: 'string', DateTime: 'string', Decimal: 'string', JSON: 'unknown' },
    enumsAsTypes: true,
    useTypeImports: true,
    strictScalars: true,
    immutableTypes: true,
    defaultScalarType: 'unknown',
  },
  presetConfig: { fragmentMasking: false },
  pluginMap: {},
  plugins: [],
});
await mkdir(new URL('src/gql/', here), { recursive: true });
for (const file of files) {
  await writeFile(new URL(file.filename, here), await codegen(file));
}
